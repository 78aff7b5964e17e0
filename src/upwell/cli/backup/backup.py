"""`upwell backup` and `upwell restore`: the data folder of this machine's server in one file."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from upwell.api.values.quantities import InvalidQuantityError, parse_quantity
from upwell.app.backup.making import make_backup
from upwell.app.backup.restoring import check_restorable, restore_backup
from upwell.backup.interface import (
    BackupError,
    BackupHeader,
    BackupLimits,
    BackupPart,
    BackupTimeoutError,
    Progress,
    WrittenBackup,
    part_names,
)
from upwell.cli.core.durations import TIMEOUT
from upwell.cli.core.errors import CommandError, Exit
from upwell.cli.core.examples import examples
from upwell.cli.core.terminal import echo
from upwell.cli.presentation.progress import ProgressLine
from upwell.cli.serve.options import data_dir_option
from upwell.machine import clock

_MIB = 1024**2
_SHOWN = 5
_OPTIONAL = [str(part) for part in BackupPart if part is not BackupPart.STATE]


def _size(_: click.Context, __: click.Parameter, value: str | None) -> int:
    if value is None:
        return 0
    try:
        size = int(parse_quantity(value))
    except InvalidQuantityError:
        size = 0
    if size < 1:
        raise click.BadParameter(f"{value!r} is not a size such as 512Mi or 20Gi")
    return size


@click.command(
    epilog=examples(
        "upwell backup /srv/backups/upwell-$(date +%F).tar",
        "upwell backup --without registry --without volumes /srv/backups/small.tar",
        "upwell backup --max-size 20Gi --timeout 1h /srv/backups/upwell.tar",
    )
)
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@data_dir_option("Data folder of the server; it may run.")
@click.option(
    "--without",
    type=click.Choice(_OPTIONAL),
    multiple=True,
    help="Part to leave out: logs of builds, images of the registry, volumes; repeatable.",
)
@click.option(
    "--max-size",
    metavar="SIZE",
    callback=_size,
    help="Largest file, such as 20Gi.  [default: what its disk has room for]",
)
@click.option("--timeout", type=TIMEOUT, default="0", help="Time limit; 0 for none.  [default: 0]")
def backup(
    file: Path, data_dir: Path, without: tuple[str, ...], max_size: int, timeout: float
) -> None:
    """Write objects, keys, audit log, images and volumes to FILE, while the server runs.

    FILE is its owner's alone: it has Secrets and the administrator's token. Keys of encryption that
    lie outside the data folder are not in it. Volumes are copied file by file.
    """
    if not file.absolute().parent.is_dir():
        raise CommandError(f"{file.parent} is no folder: create it", Exit.USAGE)
    parts = {part for part in BackupPart if part not in without}
    deadline = time.monotonic() + timeout if timeout else 0.0
    limits = BackupLimits(max_size, lambda: bool(deadline) and time.monotonic() > deadline)
    with _failing():
        written = make_backup(
            data_dir.absolute(), file.absolute(), parts, clock.now(), limits, _progress("saved")
        )
    _tell_written(file, written)


@click.command(
    epilog=examples(
        "upwell restore /srv/backups/upwell.tar",
        "upwell restore --check /srv/backups/upwell.tar",
        "upwell restore --data-dir /srv/upwell /srv/backups/upwell.tar",
    )
)
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@data_dir_option("Empty folder, or a new one, which becomes the server's data folder.")
@click.option("--replace", is_flag=True, help="Move what is in a used folder aside first.")
@click.option("--check", is_flag=True, help="Compare all digests of FILE, and write nothing.")
def restore(file: Path, data_dir: Path, *, replace: bool, check: bool) -> None:
    """Put a backup into an empty data folder; all of FILE is checked before it takes its place.

    The server is stopped meanwhile. Next comes `upwell serve` with the same --data-dir.
    """
    with _failing():
        if check:
            header = check_restorable(file, _progress("checked"))
            echo(f"{file} is whole: {_described(header)}")
            return
        header, kept = restore_backup(
            file, data_dir.absolute(), clock.now(), replace=replace, progress=_progress("restored")
        )
    echo(f"restored {data_dir}: {_described(header)}")
    if kept is not None:
        echo(f"what was there is in {kept}: remove it when it is needed no more", err=True)
    for line in _next_steps(header, data_dir):
        echo(line, err=True)


@contextmanager
def _failing() -> Iterator[None]:
    try:
        yield
    except BackupTimeoutError as error:
        raise CommandError(str(error), Exit.TIMEOUT) from error
    except BackupError as error:
        raise CommandError(str(error)) from error


def _progress(done_word: str) -> Progress:
    """Return what shows on a terminal how far it is, now and then."""
    line = ProgressLine()

    def show(done: int, total: int) -> None:
        line.show_bytes(done_word, done, total)
        if done == total:
            line.clear()

    return show


def _tell_written(file: Path, written: WrittenBackup) -> None:
    header = written.header
    size = -(-written.size // _MIB)
    echo(f"wrote {file}: {written.files} files, {size} MiB ({part_names(header.parts)})")
    if written.changed:
        more = f" and {len(written.changed) - _SHOWN} more" if len(written.changed) > _SHOWN else ""
        names = ", ".join(written.changed[:_SHOWN])
        echo(f"changed or went meanwhile, left out or cut: {names}{more}", err=True)
    if header.is_encrypted:
        echo("the database is encrypted: keep a copy of its key apart from this file", err=True)


def _described(header: BackupHeader) -> str:
    return (
        f"made {header.made} by Upwell {header.version} of {header.folder}"
        f" ({part_names(header.parts)})"
    )


def _next_steps(header: BackupHeader, data_dir: Path) -> Iterator[str]:
    """Yield what a person does next."""
    if header.is_encrypted:
        yield "next: put the encryption key where [encryption] keys names it, or nothing starts"
    if Path(header.folder) != data_dir.absolute():
        yield (
            f"next: see that {header.folder} is not served any more: both would run the same"
            " instances"
        )
    if BackupPart.REGISTRY not in header.parts:
        yield "next: images of the registry are not in it: start the builds whose images are gone"
    yield f"next: upwell serve --data-dir {data_dir}"
