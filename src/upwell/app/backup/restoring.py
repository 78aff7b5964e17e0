"""Restoring of a backup into an empty folder: all of it, or nothing."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from upwell.app.backup.contents import DATABASES
from upwell.backup.interface import BackupError, BackupHeader, Progress, no_progress
from upwell.backup.reading import check_backup, move_into, read_header, unpack
from upwell.machine.folder import remove_deep
from upwell.store.migrations import MIGRATIONS
from upwell.store.process_lock import LockedError, ProcessLock

_PARTIAL = "restoring.partial"
_LOCK = f"{DATABASES[0]}.lock"


def require_readable(header: BackupHeader) -> None:
    """Raise BackupError for a backup of a newer Upwell, whose database this one cannot read."""
    if header.schema > len(MIGRATIONS):
        raise BackupError(
            f"the backup was made by Upwell {header.version}, whose database has schema"
            f" {header.schema}; this one reads up to {len(MIGRATIONS)}: install Upwell"
            f" {header.version} or newer, and restore with it"
        )


def check_restorable(path: Path, progress: Progress = no_progress) -> BackupHeader:
    """Read a whole backup, and return what it says of itself; raises BackupError."""
    require_readable(read_header(path))
    return check_backup(path, progress)


def restore_backup(
    path: Path, data: Path, now: datetime, *, replace: bool, progress: Progress = no_progress
) -> tuple[BackupHeader, Path | None]:
    """Put a backup into an empty data folder, or in the place of a used one.

    Returns what it says of itself, and where the folder that it replaces is now. Nothing of that
    is ever removed. Raises BackupError.
    """
    require_readable(read_header(path))
    try:
        with _held(data), _made(data):
            _require_empty(data, replace=replace)
            partial = data / _PARTIAL
            remove_deep(partial)  # of a restore that was killed
            header = unpack(path, partial, progress)
            kept = _move_aside(data, now)
            move_into(partial, data, ("instance-id", *reversed(DATABASES)))
            return header, kept
    except OSError as error:
        place = error.filename or data
        raise BackupError(f"{place}: {error.strerror or error}") from error


@contextmanager
def _held(data: Path) -> Iterator[None]:
    """Keep a server from starting on the folder; raises BackupError when one runs."""
    if not (data / _LOCK).exists():
        yield
        return
    try:
        lock = ProcessLock.acquire(data / _LOCK)
    except LockedError as error:
        raise BackupError(f"{error}; a backup is restored while the server is stopped") from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _made(data: Path) -> Iterator[None]:
    """Make a folder with those above it; what is empty of them goes again after an error."""
    missing = [one for one in (data, *data.parents) if not one.exists()]
    data.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        yield
    except BaseException:
        with suppress(OSError):  # not empty
            for one in missing:
                one.rmdir()
        raise


def _used(data: Path) -> list[str]:
    """Return the names of what a folder holds besides what we put there."""
    if not data.is_dir():
        return []
    return sorted(one.name for one in data.iterdir() if one.name not in {_PARTIAL, _LOCK})


def _require_empty(data: Path, *, replace: bool) -> None:
    if not replace and (used := _used(data)):
        raise BackupError(
            f"{data} is in use ({', '.join(used[:3])}, …): name an empty folder with"
            " --data-dir, or let --replace move it aside first"
        )


def _move_aside(data: Path, now: datetime) -> Path | None:
    """Move what a folder holds to a new one beside it, whose path is returned."""
    if not (used := _used(data)):
        return None
    kept = data.with_name(f"{data.name}-before-restore-{now:%Y%m%dT%H%M%SZ}")
    kept.mkdir(mode=0o700)
    for name in used:
        (data / name).rename(kept / name)
    return kept
