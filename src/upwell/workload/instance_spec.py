"""Specification of an instance: its containers, their probes, and the volumes that it gets."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from upwell.api.values.security_context import ContainerSecurity, VolumeGroup
from upwell.oci import Reference


@dataclass(frozen=True, slots=True, order=True)
class Owner:
    """The object that instances belong to."""

    kind: str
    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class HttpProbe:
    """GET `path`; 200 to 399 is a success."""

    port: int
    path: str = "/"
    scheme: str = "http"
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class TcpProbe:
    """A connection that is accepted is a success."""

    port: int


@dataclass(frozen=True, slots=True)
class ExecProbe:
    """A command inside the container that exits 0 is a success."""

    command: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ProbeSpec:
    """Probe of a container's readiness and its times (core/v1 Probe). Seconds."""

    check: HttpProbe | TcpProbe | ExecProbe
    initial_delay: float = 0
    period: float = 10
    timeout: float = 1
    success_threshold: int = 1
    failure_threshold: int = 3


@dataclass(frozen=True, slots=True)
class EmptyDir:
    """A folder that lives as long as the instance."""


@dataclass(frozen=True, slots=True)
class HostPath:
    """A path of the host; refused unless the administrator allows it."""

    path: str
    type: str = ""
    """Kind of file that it has to be, as core/v1 HostPathType has it; empty: any."""


@dataclass(frozen=True, slots=True)
class VolumeClaim:
    """A folder with a name, made when it is first used, that outlives every instance."""

    namespace: str
    name: str
    keep_as: str = ""
    """Name under which its files are kept as they are before the start; once. Empty: they are not.

    The one that was kept before goes.
    """
    back_to: tuple[str, ...] = ()
    """Names under which files may have been kept: the first that is there takes their place, once.

    That is before the start, and before they are kept. What was there instead is kept until the
    next ones are. Nothing happens where there is none.
    """


@dataclass(frozen=True, slots=True)
class TokenFile:
    """A file with a token of a ServiceAccount of the owner's namespace, made anew before it ends.

    Whoever runs in the instance may read it, and nobody else; the token ends with the instance.
    """

    path: str
    """Relative to its volume."""
    account: str
    audience: str = ""
    """Receiver; empty: the API."""
    seconds: int = 3600
    """Lifetime."""
    optional: bool = False
    """The instance starts without it where its author may not have it, or there is none."""


@dataclass(frozen=True, slots=True)
class Files:
    """Files made from Secrets, ConfigMaps and the like: relative path -> content.

    With `tokens` they are in memory alone.
    """

    content: Mapping[str, bytes] = field(repr=False)
    mode: int = 0o644
    modes: Mapping[str, int] = field(default_factory=dict)
    """Relative path -> mode, of files that have one of their own."""
    tokens: tuple[TokenFile, ...] = ()


@dataclass(frozen=True, slots=True)
class InstanceMount:
    """A volume of the instance inside one container."""

    volume: str
    path: str
    read_only: bool = False
    sub_path: str = ""


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait of so many seconds, without an action (core/v1 SleepAction)."""

    seconds: float


type Action = HttpProbe | ExecProbe | Pause
"""Action after a container has started, or before it is stopped."""


@dataclass(frozen=True, slots=True)
class ContainerSpec:
    """One container of an instance."""

    name: str
    image: Reference
    """Pinned by digest."""
    command: tuple[str, ...] = ()
    """Replaces the image's entrypoint."""
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    working_dir: str = ""
    security: ContainerSecurity = field(default_factory=ContainerSecurity)
    mounts: tuple[InstanceMount, ...] = ()
    readiness: ProbeSpec | None = None
    liveness: ProbeSpec | None = None
    startup: ProbeSpec | None = None
    """The others are not asked before it has succeeded once; a failure ends the container."""
    post_start: Action | None = None
    """The container is not ready before it is done, and is ended when it fails."""
    pre_stop: Action | None = None
    """Done within the grace time, before SIGTERM."""
    stdin: bool = False
    """Its input is open, for whoever attaches."""
    tty: bool = False
    sidecar: bool = False
    """Serves the others: an instance that runs once does not wait for its end."""
    memory_bytes: int | None = None
    cpus: float | None = None
    devices: tuple[str, ...] = ()
    """HOST[:CONTAINER][:PERMISSIONS], or names of CDI devices; refused unless they are allowed."""


class InstanceUsers(StrEnum):
    """User ids that an instance runs with (core/v1 PodSpec hostUsers)."""

    OWN_IF_POSSIBLE = "OwnIfPossible"
    """A user namespace, in which root is nobody of the host; the host's ids where the machine, or
    the file system of a volume, has none to give."""
    OWN = "Own"
    """A user namespace, or no start."""
    HOST = "Host"
    """The ids of the host: root is its root."""


@dataclass(frozen=True, slots=True)
class PortMapping:
    """A port of the machine that the runtime itself leads to one instance."""

    host_port: int
    container_port: int
    protocol: str
    """UDP."""
    host_ip: str = ""
    """Empty: every address of the machine."""

    def __str__(self) -> str:
        return f"{self.host_port}/{self.protocol}"


type Login = tuple[str, str, str]
"""Registry, username, password."""


@dataclass(frozen=True, slots=True)
class InstanceSpec:
    """One replica: containers that share a network, like a Pod."""

    name: str
    """Unique and deterministic: starting it twice starts it once."""
    owner: Owner
    revision: str
    """Hash of the template that this replica was made from."""
    containers: tuple[ContainerSpec, ...]
    init: tuple[ContainerSpec, ...] = ()
    """Run one after the other to a good end before `containers` are started."""
    once: bool = False
    """Its containers are meant to end: it has ended when all have, or one has failed."""
    role: str = ""
    """Role of the instance, when it is no replica: a lifecycle hook's moment, say."""
    volumes: Mapping[str, EmptyDir | HostPath | VolumeClaim | Files] = field(default_factory=dict)
    logins: tuple[Login, ...] = field(default=(), repr=False)
    """(registry, username, password) for the pull."""
    volume_index: int | None = None
    """Index by which volumes that its images declare, and nothing is mounted at, are kept with
    the owner for its next instance; None: they end with the instance."""
    insecure_registries: frozenset[str] = frozenset()
    labels: Mapping[str, str] = field(default_factory=dict)
    hostname: str = ""
    owner_version: str = ""
    """The owner's resourceVersion from which it is started."""
    volume_group: VolumeGroup | None = None
    """Group that its volumes belong to, but those of the host; None leaves them as they are."""
    users: InstanceUsers = InstanceUsers.OWN_IF_POSSIBLE
    published: tuple[PortMapping, ...] = ()
    """Ports of the machine that it has while it is there; starting it fails where one is taken."""
