"""`upwell upgrade`: another version of this installation, by what has installed it."""

import os
from pathlib import Path

import click

from upwell import __version__
from upwell.app.backup.making import make_backup
from upwell.app.setup.upgrading import InstalledEnvironment, UpgradeFailedError
from upwell.app.setup.upgrading import upgrade as upgrade_installation
from upwell.backup.interface import BackupError, BackupLimits, BackupPart
from upwell.cli.core.connection import cancel_at_end, run_awaited
from upwell.cli.core.errors import CommandError
from upwell.cli.core.examples import examples
from upwell.cli.core.terminal import echo
from upwell.cli.serve.options import data_dir_option
from upwell.machine import clock
from upwell.policy.setup.upgrade import UnknownInstallerError


@click.command(
    epilog=examples(
        "upwell upgrade",
        "upwell upgrade --dry-run",
        "upwell upgrade --backup /srv/backups/before.tar ./upwell-1.1-py3-none-any.whl",
        "upwell upgrade ./upwell_1.1_amd64.deb",
    )
)
@click.argument(
    "file", required=False, type=click.Path(path_type=Path, exists=True, dir_okay=False)
)
@data_dir_option("Data folder of the server.")
@click.option(
    "--backup",
    "backup_file",
    type=click.Path(path_type=Path, dir_okay=False),
    default=None,
    help="File for a backup of objects and keys before it.  [default: none is made]",
)
@click.option("--dry-run", is_flag=True, help="Show the command that installs, and change nothing.")
def upgrade(file: Path | None, data_dir: Path, backup_file: Path | None, *, dry_run: bool) -> None:
    """Install the newest version, or that of FILE (a wheel, a Debian package), and restart.

    By uv, pipx or apt, whichever has installed this one. Workloads and Routes go on. A version that
    does not run or serve is taken back.
    """
    try:
        found = InstalledEnvironment.find()
        source = "" if file is None else str(file.absolute())
        command = found.command(source)
    except UnknownInstallerError as error:
        raise CommandError(str(error)) from error
    if dry_run:
        echo(" ".join(command))
        return
    if os.geteuid() != 0:
        raise CommandError("the upgrade takes root's rights: call it with sudo")
    folder = data_dir.absolute()
    if backup_file is not None:
        _back_up(folder, backup_file.absolute())

    async def work() -> str:
        cancel_at_end()
        return await upgrade_installation(found, source, folder, lambda line: echo(line, err=True))

    try:
        version = run_awaited(work())
    except UpgradeFailedError as error:
        raise CommandError(str(error)) from error
    if version.rpartition(" ")[2] == __version__:
        echo(f"{version} is in place, as before: {found.installer} has found no other version")
    else:
        echo(f"{version} in place of {__version__}")


def _back_up(data_dir: Path, path: Path) -> None:
    parts = (BackupPart.STATE,)  # images and volumes are not touched
    try:
        made = make_backup(data_dir, path, parts, clock.now(), BackupLimits())
    except BackupError as error:
        raise CommandError(f"{error}; nothing was changed") from error
    echo(f"wrote {path}: {made.files} files", err=True)
