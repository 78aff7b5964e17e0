"""The workload port: a container runtime that tells the running truth."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from upwell.oci import Digest, Reference
from upwell.workload.instance_spec import InstanceSpec, Owner


class State(StrEnum):
    """State of an instance, as the runtime says."""

    CREATED = "Created"
    """Not started in full: `start` has to be called again."""
    PULLING = "Pulling"
    """The runtime pulls its images: `start` has to be called again when that has ended."""
    INITIALIZING = "Initializing"
    """The runtime runs its init containers, and goes on by itself."""
    RUNNING = "Running"
    EXITED = "Exited"
    """A container has ended (of one that runs once: all, or one with a failure): see `message`."""
    LOST = "Lost"
    """The machine lost it (a power cut, say), and nobody knows how it ended.

    `start` has to be called again, and counts no restart: what is not known is held against nobody.
    """


@dataclass(frozen=True, slots=True)
class ObservedContainer:
    """One container of an instance as it is observed."""

    name: str
    id: str
    image: str
    """The reference that it was created by."""
    digest: Digest | None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    running: bool = False
    ready: bool = False
    exit_code: int | None = None
    """Of one that has ended, and is known to have ended so."""
    restarts: int = 0
    init: bool = False
    lost: bool = False
    """The machine lost it: it does not run, and nobody knows how it ended."""
    out_of_memory: bool = False
    """It was killed for using more memory than its limit."""
    previous: "ObservedContainer | None" = None
    """The one that it took the place of, as that ended; None: none is known to have ended."""


@dataclass(frozen=True, slots=True)
class Instance:
    """One replica as it is observed, never as it was asked for."""

    name: str
    owner: Owner
    revision: str
    state: State
    ready: bool
    ready_since: datetime | None
    """UTC; when the readiness probe (or, without one, the start) last turned ready."""
    started_at: datetime
    address: str
    """IP address that the host reaches the instance at; empty while it has none."""
    images: Mapping[str, Digest | None]
    """Container name -> manifest digest that really runs."""
    restarts: int = 0
    message: str = ""
    """Reason why it is not ready or has ended, for people."""
    start_error: str = ""
    """Words of the runtime when it refused to start a container of one that is `CREATED`.

    Empty: nobody has refused it, its start was cut short.
    """
    role: str = ""
    foreign: bool = False
    """A container of it was made by hand: it carries our labels, but we have not made it."""
    moved: bool = False
    """Its files are where the data folder was: the folder was moved, or is a copy."""
    exit_codes: Mapping[str, int] = field(default_factory=dict)
    """Container name -> exit code, of those that are known to have ended."""
    losses: int = 0
    """Times in a row that the machine has lost it."""
    begun_at: datetime | None = None
    """Time at which it was first started: a restart leaves it as it is."""
    addresses: tuple[str, ...] = ()
    """Addresses of all that runs of it, init containers too, each of which has its own."""
    uid: str = ""
    """Identity that it keeps when it is started anew; empty: of a version before there was one."""
    accounts: tuple[str, ...] = ()
    """ServiceAccounts whose tokens it was started with."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Those of the template that it was made from."""
    containers: tuple[ObservedContainer, ...] = ()
    """In the order of their creation, init containers first."""
    volumes: tuple[str, ...] = ()
    """Paths of the volumes that are kept with its owner, since its images declare them."""
    probed: bool = True
    """Each container has a readiness or startup probe: `ready` is more than that it runs."""
    timeline: str = ""
    """Timeline of the store that it was started by; empty: unknown."""
    owner_version: str = ""
    """The owner's resourceVersion from which it was started; empty: unknown."""

    @property
    def succeeded(self) -> bool:
        """True if it has ended, and every container that has did so with 0."""
        ended = self.state is State.EXITED
        return ended and bool(self.exit_codes) and not any(self.exit_codes.values())


@dataclass(frozen=True, slots=True, order=True)
class ServiceName:
    """A Service by its name, and an address at which it answers."""

    namespace: str
    name: str
    address: str


@dataclass(frozen=True, slots=True)
class LogQuery:
    """Part of a log that is wanted, and its form."""

    follow: bool = False
    tail: int | None = None
    """Only so many of the last lines."""
    since: datetime | None = None
    timestamps: bool = False
    """Each line begins with its time (RFC 3339) and a space."""
    previous: bool = False
    """The log of the container that this one took the place of, when that had ended."""


WHOLE_LOG = LogQuery()


class LeftoverKind(StrEnum):
    """Kind of thing that a runtime leaves behind when it is killed at a bad moment."""

    FOLDER = "Folder"
    """Record and emptyDir volumes of an instance that has no container."""
    VOLUME = "Volume"
    """Anonymous volume of a container that is gone."""
    NETWORK = "Network"
    SOCKET = "Socket"
    """Socket of a service that has ended."""


@dataclass(frozen=True, slots=True)
class Leftover:
    """Part of this Upwell on the machine that no container needs."""

    kind: LeftoverKind
    name: str
    """Of a folder, the name of its instance."""
    changed_at: datetime
    """UTC, by the machine's clock; what is being started is a moment old."""
    owner: Owner | None = None
    """Owner of the instance, as far as its record says: as long as it exists, it may go on."""
    timeline: str = ""
    """Timeline of the store that the instance was started by; empty: unknown."""


@dataclass(frozen=True, slots=True)
class InstanceImage:
    """Image that a runtime has pulled for instances, and that nobody else has named."""

    reference: Reference
    """Name by which it was pulled."""
    digests: frozenset[Digest]
    """Digests by which anybody may name it: of an index, and of its manifest."""
    used_at: datetime
    """UTC; when something was made of it last. What a container has is used now."""


class Runtime(Protocol):
    """Starts and stops instances. Instances outlive this process and are found again."""

    async def instances(self) -> Sequence[Instance]:
        """Return all instances of this Upwell, running or ended; none of their times is to come."""
        ...

    async def start(self, spec: InstanceSpec) -> None:
        """Start; nothing happens when it runs already.

        An ended instance of that name is started anew, its `restarts` one higher. While images are
        missing they are pulled, and the instance is shown as PULLING: this call does not wait.
        `stop` gives a pull up. Raises ImagePullError when the last pull has failed.
        """
        ...

    async def provide(self, spec: InstanceSpec) -> str:
        """Have the images of an instance pulled; return which is waited for, empty: all are there.

        `changes` tells when that has ended. Raises ImagePullError when the last pull has failed.
        """
        ...

    async def local_image(self, image: Reference) -> Digest | None:
        """Return the digest of an image that was made or loaded here (`localhost/…`), if it is."""
        ...

    async def stop(self, name: str, grace_seconds: float) -> None:
        """SIGTERM, SIGKILL after the grace time, remove, but for kept volumes; idempotent."""
        ...

    async def release_volumes(self, owner: Owner) -> None:
        """Have the kept volumes of a deleted owner removed, unless it starts an instance again."""
        ...

    async def execute(
        self, name: str, command: tuple[str, ...], container: str = ""
    ) -> tuple[int, bytes]:
        """Run a command in a container (the first, without a name) of a running instance.

        Returns its exit code and the start of its output. The caller limits the time.
        """
        ...

    async def publish_names(self, names: Sequence[ServiceName]) -> None:
        """Let instances, present and future, find exactly these Services by name."""
        ...

    async def leftovers(self) -> Sequence[Leftover]:
        """Return what interrupted work left beside the instances; these are in `instances`."""
        ...

    async def remove_leftover(self, leftover: Leftover) -> None:
        """Remove a leftover, unless it is needed again; idempotent."""
        ...

    async def pulled_images(self) -> Sequence[InstanceImage]:
        """Return the images that it has pulled; none that was there before, or is others' too."""
        ...

    async def remove_pulled_image(self, image: InstanceImage) -> bool:
        """Remove an image, unless it is in use, or was used since; return True if it is gone."""
        ...

    def changes(self) -> AsyncIterator[Owner]:
        """Yield an owner whenever one of its instances started, turned (un)ready or ended."""
        ...

    def logs(
        self, name: str, container: str = "", wanted: LogQuery = WHOLE_LOG
    ) -> AsyncIterator[bytes]:
        """Yield the log of an instance's container (the first when no name is given).

        Raises NoPreviousLogError, when that is wanted and there is none.
        """
        ...

    def well_since(self) -> datetime:
        """Return the time (UTC) since which it has been watched, and has answered.

        What took too long before that, or ended, says nothing about what runs.
        """
        ...


@dataclass(frozen=True, slots=True)
class FileLimits:
    """Limits of the files that are read of one container."""

    content_bytes: int
    entries: int = 10_000


@dataclass(frozen=True, slots=True)
class ContainerFile:
    """A regular file of a container."""

    path: str
    """Relative to the folder that holds what was asked for."""
    content: bytes = field(repr=False)
    modified: float = 0
    """Seconds since 1970, as the container says, by the same clock as the times of instances."""


class ReadableRuntime(Runtime, Protocol):
    """A runtime that hands out files of instances, also of those that have ended."""

    async def read_files(
        self, name: str, path: str, limits: FileLimits, container: str = ""
    ) -> Sequence[ContainerFile]:
        """Return a file, or all below a folder, of a container (the first, without a name).

        Links and devices are left out. Raises UnreadableFilesError for what is not there or
        beyond the limits.
        """
        ...


@dataclass(frozen=True, slots=True)
class InstanceCommand:
    """Command that is run beside a container's own process; without a container, in the first."""

    words: tuple[str, ...]
    container: str = ""
    stdin: bool = False
    tty: bool = False
    """It gets a terminal, where both outputs are one."""


class Output(StrEnum):
    """Stream that a command has written to."""

    STDOUT = "stdout"
    STDERR = "stderr"


class ExecSession(Protocol):
    """A command that runs."""

    async def write(self, piece: bytes | memoryview) -> None:
        """Hand it input; returns when there is room for more."""
        ...

    async def close_input(self) -> None:
        """Let it read the end of its input."""
        ...

    async def resize(self, columns: int, rows: int) -> None:
        """Give its terminal another size."""
        ...

    def output(self) -> AsyncIterator[tuple[Output, bytes]]:
        """Yield what it writes until it has ended; call it once."""
        ...

    async def exit_code(self) -> int:
        """Return its exit code, when its output has ended."""
        ...


class InteractiveRuntime(Runtime, Protocol):
    """A runtime whose instances people can enter."""

    def run(self, name: str, command: InstanceCommand) -> AbstractAsyncContextManager[ExecSession]:
        """Run a command in an instance while the block lasts; leaving the block ends it.

        Raises RuntimeUnavailableError when there is no such container, or it does not run.
        """
        ...

    def attach(
        self, name: str, container: str = "", *, stdin: bool = False
    ) -> AbstractAsyncContextManager[ExecSession]:
        """Attach to a container's own process while the block lasts; raises as `run` does."""
        ...

    async def connect(
        self, name: str, port: int
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect to a TCP port of an instance, as a process inside it would; the caller closes.

        Raises UnreachableError.
        """
        ...
