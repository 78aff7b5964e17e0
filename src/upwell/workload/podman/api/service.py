"""The child process that serves Podman's API on a socket of our own.

It holds no state: containers are children of conmon, not of the service, and outlive both it and
us. An orphaned service ends by itself once nobody has talked to it for a minute; a new Upwell
starts its own on another socket, so that it never talks to one with older settings.
"""

import asyncio
import contextlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from subprocess import DEVNULL

from upwell.workload.interface import RuntimeUnavailableError

_IDLE_SECONDS = 60
_START_SECONDS = 20.0
_STOP_SECONDS = 5.0
_POLL_SECONDS = 0.02
_LOG_TAIL_BYTES = 2048


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
    allowed_host_paths: tuple[str, ...] = ()
    """Host folders that a workload may mount, with all below them."""
    network: str = ""
    """Name of the bridge network; `upwell-<instance_id>` when empty."""
    podman: str = "podman"
    timeline: Callable[[], str] = str
    """Returns the timeline of the store that instances are started by."""

    @property
    def network_name(self) -> str:
        """The bridge network that all instances join."""
        return self.network or f"upwell-{self.instance_id}"


class PodmanService:
    """Keeps `podman system service` running while we need it."""

    def __init__(self, settings: PodmanSettings) -> None:
        self._settings = settings
        self.socket = settings.data_dir.absolute() / f"podman-{secrets.token_hex(4)}.sock"
        self._log = settings.data_dir / "podman-service.log"
        self._process: asyncio.subprocess.Process | None = None
        self._starting = asyncio.Lock()

    async def ensure(self) -> None:
        """Start the service unless it runs; raises RuntimeUnavailableError."""
        async with self._starting:
            if self._process is not None and self._process.returncode is None:
                return
            with self._log.open("wb") as log:
                try:
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
            await self._wait_until_listening(self._process)

    async def close(self) -> None:
        """End the service; the containers run on."""
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
        self.socket.unlink(missing_ok=True)

    def _argv(self) -> list[str]:
        settings = self._settings
        # Variables through env(1): this process's own environment is passed on untouched.
        environment = ["PODMAN_IGNORE_CGROUPSV1_WARNING=1"]
        if settings.containers_conf:
            environment.append(f"CONTAINERS_CONF={settings.containers_conf.absolute()}")
        if settings.registries_conf:
            environment.append(f"CONTAINERS_REGISTRIES_CONF={settings.registries_conf.absolute()}")
        options = []
        if settings.storage_root:
            options += ["--root", str(settings.storage_root.absolute())]
        if settings.run_root:
            run_root = settings.run_root.absolute()
            options += ["--runroot", str(run_root), "--tmpdir", str(run_root / "libpod")]
        if settings.storage_driver:
            options += ["--storage-driver", settings.storage_driver]
        return [
            "env",
            *environment,
            settings.podman,
            *options,
            *("system", "service", f"--time={_IDLE_SECONDS}", f"unix://{self.socket}"),
        ]

    async def _wait_until_listening(self, process: asyncio.subprocess.Process) -> None:
        try:
            async with asyncio.timeout(_START_SECONDS):
                while not await self._answers():
                    if process.returncode is not None:
                        raise RuntimeUnavailableError(f"podman does not start: {self._log_tail()}")
                    await asyncio.sleep(_POLL_SECONDS)
        except TimeoutError as error:
            raise RuntimeUnavailableError(
                f"podman did not answer within {_START_SECONDS:.0f} s: {self._log_tail()}"
            ) from error

    async def _answers(self) -> bool:
        try:
            _, writer = await asyncio.open_unix_connection(str(self.socket))
        except OSError:
            return False
        writer.close()
        return True

    def _log_tail(self) -> str:
        text = self._log.read_bytes()[-_LOG_TAIL_BYTES:].decode(errors="replace").strip()
        return text or "it printed nothing; run `upwell doctor`"
