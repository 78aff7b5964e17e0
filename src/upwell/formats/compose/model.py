"""Services as the Compose Specification describes them.

https://github.com/compose-spec/compose-spec/blob/main/spec.md. What runs in a container engine and
what Quadlets declare is read into the same values.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

DEFAULT_INTERVAL_SECONDS = DEFAULT_TIMEOUT_SECONDS = 30
DEFAULT_RETRIES = 3
EVERY_ADDRESS = frozenset({"", "0.0.0.0", "::"})  # noqa: S104 - binds nothing
"""Addresses of a published port that stand for all of the host's."""
DEFAULT_NETWORK = "default"
"""Network of services that name none."""


class MountKind(StrEnum):
    """Kind of what is mounted."""

    VOLUME = "volume"
    BIND = "bind"
    TMPFS = "tmpfs"


@dataclass(frozen=True, slots=True)
class PublishedPort:
    """A port of a container, and where the host has it."""

    port: int
    host_port: int | None = None
    """None: reachable by other services alone."""
    host_ip: str = ""
    protocol: str = "tcp"

    def is_at_one_with(self, other: "PublishedPort") -> bool:
        """Return True if both have one port of the host: at one address, or one of them at all."""
        if self.host_port is None or (self.host_port, self.protocol) != (
            other.host_port,
            other.protocol,
        ):
            return False
        hosts = {self.host_ip, other.host_ip}
        return len(hosts) == 1 or not hosts.isdisjoint(EVERY_ADDRESS)

    @property
    def is_exclusive(self) -> bool:
        """True if one container alone can have the port of the host, while it runs.

        The ports of TCP are the router's, which leads to several.
        """
        return self.host_port is not None and self.protocol == "udp"


@dataclass(frozen=True, slots=True)
class ServiceMount:
    """Mount of a container."""

    kind: MountKind
    target: str
    source: str = ""
    """Name of a volume, or absolute path on the host; empty: a volume without a name."""
    read_only: bool = False
    sub_path: str = ""


@dataclass(frozen=True, slots=True)
class FileGrant:
    """A secret or config of the project as a file in a container."""

    source: str
    target: str
    mode: int | None = None


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """Check of whether a container is healthy: a command, a path over HTTP, or a port."""

    command: tuple[str, ...] = ()
    http_path: str = ""
    """Asked at the first port; empty with an empty command: a connection to that port."""
    interval: int = DEFAULT_INTERVAL_SECONDS
    timeout: int = DEFAULT_TIMEOUT_SECONDS
    retries: int = DEFAULT_RETRIES
    disabled: bool = False


@dataclass(frozen=True, slots=True)
class ServiceBuild:
    """Build section: a folder or a git address, and its Dockerfile."""

    context: str
    """Absolute path or git address."""
    dockerfile: str = ""
    inline: str = ""
    """Text of the Dockerfile."""
    args: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class ComposeService:
    """One service."""

    name: str
    image: str = ""
    build: ServiceBuild | None = None
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    ports: tuple[PublishedPort, ...] = ()
    mounts: tuple[ServiceMount, ...] = ()
    secrets: tuple[FileGrant, ...] = ()
    configs: tuple[FileGrant, ...] = ()
    health: HealthCheck | None = None
    depends_on: tuple[str, ...] = ()
    healthy: tuple[str, ...] = ()
    """Those of `depends_on` that have to be healthy before it starts."""
    networks: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    """Further names by which other services reach it."""
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    user: str = ""
    """`UID[:GID]`."""
    groups: tuple[int, ...] = ()
    working_dir: str = ""
    read_only: bool = False
    privileged: bool = False
    no_new_privileges: bool = False
    security_options: tuple[str, ...] = ()
    """Further ones, as engines write them: `label=type:t`. Only written, never read."""
    sysctls: Mapping[str, str] = field(default_factory=dict)
    """Kernel parameters of its namespaces."""
    cap_add: tuple[str, ...] = ()
    cap_drop: tuple[str, ...] = ()
    stop_grace_seconds: int | None = None
    stdin: bool = False
    tty: bool = False
    replicas: int = 1
    devices: tuple[str, ...] = ()
    """HOST[:CONTAINER][:PERMISSIONS], or names of CDI devices."""
    limits: Mapping[str, str] = field(default_factory=dict)
    """Quantities of `cpu` and `memory`, as Kubernetes writes them."""
    requests: Mapping[str, str] = field(default_factory=dict)

    @property
    def writes_files(self) -> bool:
        """True if it may write files that outlive its container."""
        return any(
            mount.kind in {MountKind.VOLUME, MountKind.BIND} and not mount.read_only
            for mount in self.mounts
        )


@dataclass(frozen=True, slots=True)
class ProjectFile:
    """A secret or config of a project."""

    name: str
    content: bytes | None = field(default=None, repr=False)
    """None: it is there already, under `external`."""
    external: str = ""


@dataclass(frozen=True, slots=True)
class ComposeProject:
    """Services that belong together, with what they share."""

    services: tuple[ComposeService, ...]
    """In the order of `depends_on`: what others need comes first."""
    volumes: Mapping[str, str] = field(default_factory=dict)
    """Names in the file -> names of the volumes."""
    secrets: tuple[ProjectFile, ...] = ()
    configs: tuple[ProjectFile, ...] = ()
    warnings: tuple[str, ...] = ()
    """Keys without effect, and what Compose itself warns of."""
    name: str = ""
    """Name that keeps it apart from other projects; empty: it has none."""
