"""Looks at a machine for `upwell setup`, and makes the changes that were decided."""

import asyncio
import shutil
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from upwell.app.server import remove_workloads
from upwell.machine.backoff import Backoff
from upwell.machine.folder import remove_deep
from upwell.machine.private_file import write_whole
from upwell.machine.process import ProcessResult, run_command
from upwell.machine.setup.packages import install_packages, missing_packages
from upwell.policy.setup.steps import MachineFacts, SetupAction, SetupFiles, SetupStep
from upwell.policy.setup.unit import UNIT_NAME, service_unit
from upwell.router.interface import RouterUnavailableError
from upwell.settings import ServerSettings
from upwell.store.interface import StoreError
from upwell.store.process_lock import ProcessLock
from upwell.workload.errors import RuntimeUnavailableError, WorkloadError

_CONFIGURATION = """\
# Configuration of `upwell serve`; all keys: docs/configuration.md. After a change:
#   systemctl restart upwell
# What runs and its Routes go on meanwhile.
"""
_START_SECONDS = 660.0
_SECONDS = 60.0
_TRIES, _PAUSES = 6, Backoff(first=1.0, longest=8.0)
"""Of a removal: half a minute of pauses, and as long as each try takes."""


class SetupFailedError(Exception):
    """A step failed; the message says why. What was done before it stays."""


@dataclass(frozen=True, slots=True)
class SetupPlaces:
    """Places of a machine; `system` is where its folders are below."""

    data_dir: Path
    container_storage: Path | None = None
    """Podman's storage for workloads; None: the system's."""
    system: Path = Path("/")

    @property
    def configuration(self) -> Path:
        """The server's configuration file."""
        return self.system / "etc/upwell/upwell.toml"

    @property
    def unit(self) -> Path:
        """The unit that we write."""
        return self.system / "etc/systemd/system" / UNIT_NAME

    @property
    def packaged_unit(self) -> Path:
        """The unit that a package brings."""
        return self.system / "usr/lib/systemd/system" / UNIT_NAME

    def files(self) -> SetupFiles:
        """Return the files as they shall be."""
        program = str(Path(shutil.which(sys.argv[0]) or sys.argv[0]).absolute())
        return SetupFiles(
            data_dir=str(self.data_dir),
            configuration_path=str(self.configuration),
            configuration=_CONFIGURATION,
            unit_path=str(self.unit),
            unit=service_unit(program, str(self.data_dir), str(self.configuration)),
        )


async def look_at_machine(places: SetupPlaces) -> MachineFacts:
    """Return what decides the steps; changes nothing."""
    has_systemd = (places.system / "run/systemd/system").is_dir()
    return MachineFacts(
        missing_packages=tuple(missing_packages()),
        has_apt=shutil.which("apt-get") is not None,
        has_systemd=has_systemd,
        has_data=places.data_dir.is_dir(),
        configuration=_text(places.configuration),
        unit=_text(places.unit),
        has_packaged_unit=places.packaged_unit.is_file(),
        is_enabled=has_systemd and await _says("is-enabled"),
        is_active=has_systemd and await _says("is-active"),
    )


async def carry_out(step: SetupStep, places: SetupPlaces) -> None:
    """Make one change; raises SetupFailedError."""
    try:
        await _ACTIONS[step.action](step, places)
    except (WorkloadError, RouterUnavailableError, StoreError) as error:
        raise SetupFailedError(f"{step}: {error}") from error
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        raise SetupFailedError(f"{step}: {place}{error.strerror or error}") from error


async def _install(step: SetupStep, places: SetupPlaces) -> None:
    done = await install_packages(step.object.split(), places.system)
    if done.code:
        raise SetupFailedError(
            f"{step}: {done.last_line}; see that `apt-get install {step.object}` works, and call"
            " `upwell setup` again"
        )


async def _make_data(_: SetupStep, places: SetupPlaces) -> None:
    places.data_dir.mkdir(mode=0o700, parents=True)


async def _write_configuration(_: SetupStep, places: SetupPlaces) -> None:
    places.configuration.parent.mkdir(parents=True, exist_ok=True)
    write_whole(places.configuration, places.files().configuration)


async def _write_unit(_: SetupStep, places: SetupPlaces) -> None:
    places.unit.parent.mkdir(parents=True, exist_ok=True)
    write_whole(places.unit, places.files().unit)


async def _enable(step: SetupStep, _: SetupPlaces) -> None:
    await _systemctl(step, "daemon-reload")
    await _systemctl(step, "enable", UNIT_NAME)
    await _systemctl(step, "restart", UNIT_NAME)  # returns once the server is ready


async def _stop(step: SetupStep, _: SetupPlaces) -> None:
    await _systemctl(step, "disable", "--now", UNIT_NAME)


async def _remove_unit(step: SetupStep, places: SetupPlaces) -> None:
    places.unit.unlink(missing_ok=True)
    if (places.system / "run/systemd/system").is_dir():
        await _systemctl(step, "daemon-reload")


async def _remove_workloads(_: SetupStep, places: SetupPlaces) -> None:
    if not (places.data_dir / "instance-id").is_file():
        return  # nothing was ever started from it
    settings = ServerSettings(data_dir=places.data_dir, container_storage=places.container_storage)
    lock = ProcessLock.acquire(places.data_dir / "upwell.db.lock")
    try:
        await removed(lambda: remove_workloads(settings))
    finally:
        lock.release()


async def removed(remove: Callable[[], Awaitable[None]], pauses: Backoff = _PAUSES) -> None:
    """Remove what runs by `remove`, which is tried again while Podman or the router is too busy.

    No work queue does it here. Raises what the last of a few tries raised.
    """
    for failures in range(1, _TRIES):
        try:
            return await remove()
        except (RuntimeUnavailableError, RouterUnavailableError):
            await asyncio.sleep(pauses.delay(failures))
    return await remove()


async def _remove_configuration(_: SetupStep, places: SetupPlaces) -> None:
    places.configuration.unlink(missing_ok=True)
    if not any(places.configuration.parent.iterdir()):
        places.configuration.parent.rmdir()


async def _remove_data(step: SetupStep, places: SetupPlaces) -> None:
    remove_deep(places.data_dir)
    if places.data_dir.exists():
        raise SetupFailedError(
            f"{step}: something in it is in use, or mounted there (`findmnt`): end that, and call"
            " `upwell setup --undo --data` again"
        )


_ACTIONS: Mapping[SetupAction, Callable[[SetupStep, SetupPlaces], Awaitable[None]]] = {
    SetupAction.INSTALL_PACKAGES: _install,
    SetupAction.MAKE_DATA_FOLDER: _make_data,
    SetupAction.WRITE_CONFIGURATION: _write_configuration,
    SetupAction.WRITE_UNIT: _write_unit,
    SetupAction.ENABLE_SERVICE: _enable,
    SetupAction.STOP_SERVICE: _stop,
    SetupAction.REMOVE_UNIT: _remove_unit,
    SetupAction.REMOVE_WORKLOADS: _remove_workloads,
    SetupAction.REMOVE_CONFIGURATION: _remove_configuration,
    SetupAction.REMOVE_DATA: _remove_data,
}


async def is_service_active() -> bool:
    """Return True if systemd runs the service."""
    return await _says("is-active")


async def stop_service() -> ProcessResult:
    """Stop the service, also one that systemd starts again and again."""
    return await run_command("systemctl", "stop", UNIT_NAME, seconds=_START_SECONDS)


async def restart_service() -> ProcessResult:
    """Restart the service; returns once it is ready, or has failed."""
    return await run_command("systemctl", "restart", UNIT_NAME, seconds=_START_SECONDS)


async def _says(question: str) -> bool:
    return (await run_command("systemctl", question, "--quiet", UNIT_NAME)).code == 0


async def _systemctl(step: SetupStep, *arguments: str) -> None:
    done = await run_command(
        "systemctl", *arguments, seconds=_START_SECONDS if "restart" in arguments else _SECONDS
    )
    if done.code:
        raise SetupFailedError(
            f"{step}: {done.last_line}; `journalctl --unit upwell --lines 20` says why"
        )


def _text(path: Path) -> str | None:
    return path.read_text(errors="replace") if path.is_file() else None
