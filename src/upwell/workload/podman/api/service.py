"""The child process that serves Podman's API on a socket of our own.

It holds no state: containers are children of conmon, not of the service, and outlive both it and
us. An orphaned service ends by itself once nobody has talked to it for a minute; a new Upwell
starts its own on another socket, so that it never talks to one with older settings.
"""

import asyncio
import contextlib
import errno
import os
import secrets
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import DEVNULL

from upwell.machine.authorities import certificate_folders
from upwell.machine.backoff import Backoff
from upwell.machine.disk import PressureCheck, no_pressure
from upwell.machine.processes import is_at_work
from upwell.machine.sockets.listeners import ask_listener
from upwell.outbound.image_registries import ImageRegistries
from upwell.workload.errors import RuntimeUnavailableError
from upwell.workload.podman.api.orphans import end_orphans
from upwell.workload.podman.api.temporary import ServiceTemporary
from upwell.workload.podman.confinement import DefaultLimits
from upwell.workload.podman.tokens.issue import IssueToken, issue_none

_IDLE_SECONDS = 60
_START_SECONDS = 20.0
_ASK_SECONDS = 1.0
_STOP_SECONDS = 5.0
_POLL_SECONDS = 0.02
_LOG_TAIL_BYTES = 2048
_STATUS_CHARACTERS = 80
_PAUSES = Backoff(first=0.5, longest=4)
_SHORT_LIFE_SECONDS = 3.5
"""Longer than it takes to see that one hangs at its end, and to kill it."""
_SHORT_LIVES = 3
"""So many in a row may be an accident: it is started at once."""
_OURS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})
_PING = b"GET /_ping HTTP/1.1\r\nHost: podman\r\nConnection: close\r\n\r\n"


@dataclass(frozen=True, slots=True)
class PodmanSettings:
    """Settings of the Podman that runs our containers.

    Without `storage_root` and `run_root` it is the system's own storage, where `podman ps` shows
    our containers beside all others; with them it is a private one.
    """

    data_dir: Path
    """Holds one folder for each instance (its record and volumes) and the API socket."""
    instance_id: str
    """Tells the containers of this Upwell from those of another on the same machine."""
    storage_root: Path | None = None
    run_root: Path | None = None
    storage_driver: str | None = None
    containers_conf: Path | None = None
    registries_conf: Path | None = None
    authorities: Path | None = None
    """Folder of certificate authorities that registries are trusted by, besides the system's."""
    allowed_host_paths: tuple[str, ...] = ()
    """Host folders that a workload may mount, with all below them."""
    allowed_devices: tuple[str, ...] = ()
    """Paths of devices, with all below them, and names or kinds of CDI devices."""
    user_namespaces: bool = True
    """Gives instances ids of their own, where the machine can."""
    network: str = ""
    """Name of the bridge network; `upwell-<instance_id>` when empty."""
    podman: str = "podman"
    limits: DefaultLimits = field(default_factory=DefaultLimits)
    registries: ImageRegistries | None = None
    """Judges where images are pulled from; None: from anywhere."""
    always_verify_images: bool = False
    """Starts nothing of the storage that no registry is known to have given to the namespace."""
    preloaded_images: tuple[str, ...] = ()
    """Names of images, with `/*` at the end for all below, that every namespace may have."""
    pressure: PressureCheck = no_pressure
    """Says why there is no room for images."""
    issue_token: IssueToken = issue_none
    """Makes tokens of ServiceAccounts for instances."""
    timeline: Callable[[], str] = str
    """Returns the timeline of the store that instances are started by."""

    @property
    def pins_root(self) -> Path:
        """Folder of what is mounted for containers: not below the data folder, see `Pins`."""
        return Path(f"/run/upwell-{self.instance_id}")

    @property
    def tokens_root(self) -> Path:
        """Folder of what is in memory alone; not below that of the pins, which come and go."""
        return Path(f"/run/upwell-{self.instance_id}-tokens")

    @property
    def temporary_root(self) -> Path:
        """Folder of what is too large for memory, where containers' own ids can pass."""
        return Path(f"/var/tmp/upwell-podman-{self.instance_id}")  # noqa: S108 - checked to be ours

    @property
    def network_name(self) -> str:
        """The bridge network that all instances join."""
        return self.network or f"upwell-{self.instance_id}"

    def variables(self) -> dict[str, str]:
        """Return what is set in the environment of every Podman."""
        found = {"PODMAN_IGNORE_CGROUPSV1_WARNING": "1"}
        if self.containers_conf:
            found["CONTAINERS_CONF"] = str(self.containers_conf.absolute())
        if self.registries_conf:
            found["CONTAINERS_REGISTRIES_CONF"] = str(self.registries_conf.absolute())
        if self.authorities:
            found["SSL_CERT_DIR"] = certificate_folders(self.authorities)
        return found

    def storage_options(self) -> tuple[str, ...]:
        """Return the options that say which storage is meant, as Podman and Buildah take them."""
        options: list[str] = []
        if self.storage_root:
            options += ["--root", str(self.storage_root.absolute())]
        if self.run_root:
            options += ["--runroot", str(self.run_root.absolute())]
        if self.storage_driver:
            options += ["--storage-driver", self.storage_driver]
        return tuple(options)

    def command(self) -> tuple[str, ...]:
        """Return the program, with the options that say which storage is meant."""
        options = self.storage_options()
        if self.run_root:
            options += ("--tmpdir", str(self.run_root.absolute() / "libpod"))
        return (self.podman, *options)


class PodmanService:
    """Keeps `podman system service` running while we need it."""

    def __init__(self, settings: PodmanSettings) -> None:
        self._settings = settings
        self.socket = settings.data_dir.absolute() / f"podman-{secrets.token_hex(4)}.sock"
        self.starts = 0
        """Number of times that it was started: connections to an earlier one are of no use."""
        self._log = settings.data_dir / "podman-service.log"
        self._temporary = ServiceTemporary(settings.temporary_root)
        self._process: asyncio.subprocess.Process | None = None
        self._starting = asyncio.Lock()
        self._started = 0.0
        """Time of the event loop at which it answered first."""
        self._failures = 0
        """Starts in a row that failed, or that did not last."""
        self._fault = ""
        self._not_before = 0.0
        """Time of the event loop before which a start is not tried again after a failure."""

    async def ensure(self) -> None:
        """Start the service unless it runs; raises RuntimeUnavailableError.

        After a failed start the same error is raised at once, until it is time to try again.
        """
        async with self._starting:
            if self._process is not None and self._process.returncode is None:
                return
            if self._process is not None:
                self._process = None
                self._take_note_of_end()
            if self.retry_in():
                raise RuntimeUnavailableError(self._fault)
            try:
                await self._start()
            except RuntimeUnavailableError as error:
                self._process = None
                self._wait_before_next(str(error))
                raise
            self._started = asyncio.get_running_loop().time()

    def retry_in(self) -> float:
        """Return the seconds until a start is tried again after a failure."""
        return max(0.0, self._not_before - asyncio.get_running_loop().time())

    def _take_note_of_end(self) -> None:
        """Begin to wait between starts when it ends soon after each of them."""
        if asyncio.get_running_loop().time() - self._started >= _SHORT_LIFE_SECONDS:
            self._failures = 0
        elif self._failures < _SHORT_LIVES:
            self._failures += 1
        else:
            self._wait_before_next(f"Podman's service ends as soon as it runs: {self._log_tail()}")

    def _wait_before_next(self, fault: str) -> None:
        self._fault = fault
        self._failures += 1
        self._not_before = asyncio.get_running_loop().time() + _PAUSES.delay(self._failures)

    async def ended(self) -> str:
        """Wait for the end of the process that runs; return how it ended, for people."""
        process = self._process
        code = await process.wait() if process else 0
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        return f"Podman's service {how}: {self._log_tail()}"

    async def answers(self, seconds: float) -> bool:
        """Return True if it answers a request that asks for nothing within `seconds`.

        Raises RuntimeUnavailableError as `fault_of_answer` does.
        """
        return not await self.fault_of_answer(seconds)

    async def fault_of_answer(self, seconds: float) -> str:
        """Say why it does not answer such a request: late, refused or with an error; or nothing.

        Raises RuntimeUnavailableError when this process has no descriptor or memory to ask with.
        """
        try:
            # In a thread: while the event loop is held up, everybody else would seem to hang.
            answer = await asyncio.to_thread(ask_listener, self.socket, _PING, seconds)
        except OSError as error:  # a TimeoutError is one too
            if error.errno in _OURS:
                raise RuntimeUnavailableError(f"podman cannot be asked: {error}") from error
            return error.strerror or str(error)
        status = answer.partition(b"\r\n")[0].decode(errors="replace")
        return "" if " 200 " in status else f"it answers {status[:_STATUS_CHARACTERS]!r}"

    def is_at_work(self) -> bool:
        """Return True if a thread of the process runs, waits for a processor or for a disk."""
        return self._process is not None and is_at_work(self._process.pid)

    async def kill(self) -> None:
        """End the service at once; the containers run on, and requests under way fail."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        # The whole group: without root, Podman serves from a child of the process that we know.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()

    async def close(self) -> None:
        """End the service; the containers run on."""
        process = self._process
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                await process.wait()
        except TimeoutError:
            await self.kill()
        self.socket.unlink(missing_ok=True)
        self._temporary.close()

    def remove_temporary(self) -> None:
        """Remove the folder of large files, once no container runs that needs it; blocks."""
        self._temporary.remove()

    def _clear(self) -> None:
        """End the services of before, whose folder is this one's, and remove what they left."""
        end_orphans(self._settings.data_dir)
        self.socket.unlink(missing_ok=True)
        self._temporary.renew()

    async def _start(self) -> None:
        try:
            await asyncio.to_thread(self._clear)
        except OSError as error:
            raise RuntimeUnavailableError(f"podman is not started: {error}") from error
        try:
            with self._log.open("wb") as log:
                self._process = await asyncio.create_subprocess_exec(
                    *self._argv(),
                    stdin=DEVNULL,
                    stdout=log,
                    stderr=log,
                    # conmon leaves a file `oom` where it is started from.
                    cwd=self._settings.data_dir,
                    start_new_session=True,
                )
        except OSError as error:
            raise RuntimeUnavailableError(
                f"{self._settings.podman} cannot be started: {error}; install podman"
            ) from error
        self.starts += 1
        try:
            await self._wait_until_answering(self._process)
        except BaseException:
            await asyncio.shield(self.kill())  # or the next caller would take it for a good one
            raise

    def _argv(self) -> list[str]:
        # Variables through env(1): this process's own environment is passed on untouched.
        chosen = {**self._settings.variables(), "TMPDIR": str(self._temporary.path)}
        variables = (f"{name}={value}" for name, value in chosen.items())
        return [
            "env",
            *variables,
            *self._settings.command(),
            *("system", "service", f"--time={_IDLE_SECONDS}", f"unix://{self.socket}"),
        ]

    async def _wait_until_answering(self, process: asyncio.subprocess.Process) -> None:
        try:
            async with asyncio.timeout(_START_SECONDS):
                while not await self.answers(_ASK_SECONDS):
                    if process.returncode is not None:
                        raise RuntimeUnavailableError(f"podman does not start: {self._log_tail()}")
                    await asyncio.sleep(_POLL_SECONDS)
        except TimeoutError as error:
            raise RuntimeUnavailableError(
                f"podman did not answer within {_START_SECONDS:.0f} s: {self._log_tail()}"
            ) from error

    def _log_tail(self) -> str:
        try:
            raw = self._log.read_bytes()[-_LOG_TAIL_BYTES:]
        except OSError as error:
            return f"its log cannot be read: {error}"
        return raw.decode(errors="replace").strip() or "it printed nothing; run `upwell doctor`"
