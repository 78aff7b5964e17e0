"""Making of a backup, beside a server that runs or of a folder whose server is stopped."""

import tempfile
from collections.abc import Collection, Iterator
from datetime import datetime
from pathlib import Path

from upwell import __version__
from upwell.app.backup.contents import DATABASES, DatabaseCopy, named_digests, plain_files, snapshot
from upwell.app.backup.registry import RegistryContent
from upwell.backup.interface import (
    BackupError,
    BackupFile,
    BackupHeader,
    BackupLimits,
    BackupPart,
    Progress,
    WrittenBackup,
    no_progress,
)
from upwell.backup.writing import write_backup


def make_backup(
    data: Path,
    path: Path,
    parts: Collection[BackupPart],
    made: datetime,
    limits: BackupLimits,
    progress: Progress = no_progress,
) -> WrittenBackup:
    """Write a backup of a data folder; the state is always in it. Raises BackupError."""
    database = data / DATABASES[0]
    if not database.is_file() or not database.stat().st_size:
        raise BackupError(f"{data} has no {DATABASES[0]}: name the server's folder with --data-dir")
    parts = {BackupPart.STATE, *parts}
    try:
        # Beside the backup: the disk of the data folder may be full.
        with tempfile.TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent) as folder:
            drafts = Path(folder)
            copies, found = _snapshots(data, drafts)
            header = BackupHeader(
                version=__version__,
                schema=found.schema,
                instance=_instance(data),
                folder=str(data),
                made=made.isoformat(timespec="seconds"),
                parts=tuple(part for part in BackupPart if part in parts),
                is_encrypted=found.is_encrypted,
            )
            files = [*copies, *_others(data, drafts, parts, found)]
            return write_backup(path, header, files, limits, progress)
    except OSError as error:
        place = error.filename or path
        raise BackupError(f"{place}: {error.strerror or error}") from error


def _snapshots(data: Path, drafts: Path) -> tuple[list[BackupFile], DatabaseCopy]:
    """Copy the databases, the one of the objects first; return its facts, too."""
    found: dict[str, DatabaseCopy] = {}
    for name in DATABASES:
        if (data / name).is_file() and (data / name).stat().st_size:
            found[name] = snapshot(data / name, drafts / name)
    files = [BackupFile(drafts / name, name, BackupPart.STATE) for name in found]
    return files, found[DATABASES[0]]


def _others(
    data: Path, drafts: Path, parts: Collection[BackupPart], found: DatabaseCopy
) -> Iterator[BackupFile]:
    yield from plain_files(data, parts)
    if BackupPart.REGISTRY in parts:
        named = None if found.is_encrypted else named_digests(drafts / DATABASES[0])
        yield from RegistryContent(data, drafts, named).files()


def _instance(data: Path) -> str:
    path = data / "instance-id"
    return path.read_text(errors="replace").strip() if path.is_file() else ""
