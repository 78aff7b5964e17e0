"""Upgrade of this installation: whole, or back at the version before.

The environment is kept beside itself until the new version serves. What Debian's package manager
looks after cannot be put back so: whoever has the former package installs that.
"""

import shutil
import sys
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from upwell.app.setup.setup import is_service_active, restart_service, stop_service
from upwell.machine.folder import remove_deep
from upwell.machine.process import run_command
from upwell.policy.setup.upgrade import (
    RECEIPTS,
    Installer,
    installer_of,
    source_of,
    upgrade_command,
)

_INSTALL_SECONDS = 1800.0
_CHECK_SECONDS = 60.0
_MAX_RECEIPT_BYTES = 1024 * 1024
_DATABASE = "upwell.db"
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
"""Version of the interpreter that this runs with, which a new environment gets too."""


class UpgradeFailedError(Exception):
    """The upgrade failed; the message says why, and which version is there now."""


@dataclass(frozen=True, slots=True)
class InstalledEnvironment:
    """The environment that this program runs from."""

    prefix: Path
    installer: Installer
    source: str = ""
    """File or address that it was installed from; empty: by its name."""

    @classmethod
    def find(cls, prefix: Path = Path(sys.prefix)) -> "InstalledEnvironment":
        """Return the present one; raises UnknownInstallerError."""
        files = {one.name for one in prefix.iterdir()}
        installer = installer_of(str(prefix), files)
        if installer not in RECEIPTS:
            return cls(prefix, installer)
        with (prefix / RECEIPTS[installer]).open("rb") as file:
            receipt = file.read(_MAX_RECEIPT_BYTES).decode(errors="replace")
        return cls(prefix, installer, source_of(installer, receipt))

    def command(self, file: str) -> Sequence[str]:
        """Return the command that installs another version; raises UnknownInstallerError."""
        return upgrade_command(
            self.installer, file, PYTHON, prefix=str(self.prefix), source=self.source
        )

    @property
    def program(self) -> Path:
        """The command `upwell` of it."""
        own = self.prefix / "bin/upwell"
        return Path("/usr/bin/upwell") if self.installer is Installer.APT else own

    @property
    def kept(self) -> Path:
        """The environment of the version before, until the new one serves."""
        return self.prefix.with_name(f"{self.prefix.name}.before-upgrade")


async def upgrade(
    found: InstalledEnvironment, file: str, data_dir: Path, tell: Callable[[str], None]
) -> str:
    """Install another version, restart the service if it runs, and return the new version.

    Raises UnknownInstallerError, with nothing changed, or UpgradeFailedError; then, and where it is
    cancelled, the version before is in place again where that can be.
    """
    command = found.command(file)
    is_active = await is_service_active()
    copies = _schema_copies(data_dir)
    if found.installer is not Installer.APT:
        _keep(found)
    try:
        version = await _upgrade(found, command, tell, is_active=is_active)
        if file and not found.source and found.installer in RECEIPTS:
            # pipx would keep a file as what was asked for, and install it again for ever.
            receipt = RECEIPTS[found.installer]
            shutil.copy2(found.kept / receipt, found.prefix / receipt)
    except BaseException as error:
        # An interruption too: it may have come while half of the new version was there.
        if is_active:
            await stop_service()  # nothing has the database open while another takes its place
        _put_back(found, data_dir, copies)
        if is_active:
            await restart_service()
        if isinstance(error, UpgradeFailedError):
            raise UpgradeFailedError(f"{error}; {_what_is_there(found)}") from error
        tell(_what_is_there(found))
        raise
    else:
        return version
    finally:
        remove_deep(found.kept)


def _keep(found: InstalledEnvironment) -> None:
    """Copy the environment beside itself; raises UpgradeFailedError."""
    remove_deep(found.kept)
    try:
        shutil.copytree(found.prefix, found.kept, symlinks=True)
    except OSError as error:
        remove_deep(found.kept)
        # Of a tree there is one fault for each file.
        why = error.args[0][0][2] if isinstance(error, shutil.Error) else error
        raise UpgradeFailedError(
            f"nothing was changed: {found.prefix} cannot be kept beside itself: {why}"
        ) from error


async def _upgrade(
    found: InstalledEnvironment,
    command: Sequence[str],
    tell: Callable[[str], None],
    *,
    is_active: bool,
) -> str:
    tell(" ".join(command))
    done = await run_command(*command, seconds=_INSTALL_SECONDS)
    if done.code:
        raise UpgradeFailedError(f"`{' '.join(command)}` failed: {done.last_line}")
    checked = await run_command(str(found.program), "--version", seconds=_CHECK_SECONDS, whole=True)
    if checked.code:
        raise UpgradeFailedError(f"the new version does not run: {checked.last_line}")
    if is_active:
        tell("systemctl restart upwell")
        restarted = await restart_service()
        if restarted.code:
            raise UpgradeFailedError(
                f"the new version does not serve: {restarted.last_line}"
                " (`journalctl --unit upwell --lines 20`)"
            )
    return checked.output.strip()


def _put_back(found: InstalledEnvironment, data_dir: Path, copies: Collection[Path]) -> None:
    """Put the version before in place, and the database as that has left it."""
    if not found.kept.is_dir():
        return
    remove_deep(found.prefix)
    found.kept.rename(found.prefix)
    for made in set(_schema_copies(data_dir)) - set(copies):
        for ending in ("-wal", "-shm"):
            (data_dir / f"{_DATABASE}{ending}").unlink(missing_ok=True)
        made.replace(data_dir / _DATABASE)


def _what_is_there(found: InstalledEnvironment) -> str:
    if found.installer is Installer.APT:
        return "install the package of the version before: `apt-get install ./upwell_VERSION.deb`"
    return "the version before is in place again, with the database as it has left it"


def _schema_copies(data_dir: Path) -> list[Path]:
    return list(data_dir.glob(f"{_DATABASE}.schema-*"))
