"""Files of a data folder that a backup has; what is made anew from them is left out.

Databases go first, then what they name: files are written before a database names them, and
removed a day after it has stopped, so that a backup of a running server lacks nothing that its
objects name.
"""

import re
import sqlite3
from collections.abc import Collection, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from upwell.backup.interface import BackupError, BackupFile, BackupPart
from upwell.encryption.keyring import WrappedKey
from upwell.machine.private_file import is_draft

DATABASES = ("upwell.db", "deliveries.db")
"""The first one is moved into place last: a folder without it has no server's objects yet."""

_STATE = (
    *("instance-id", "*.token", "*.key", "*.pub", "audit*.log*"),
    *("tls/*", "inputs/**/*", "evidence/**/*"),
)
_LOGS = ("logs/builds/**/*",)
_VOLUMES = ("workloads/claims", "workloads/kept", "workloads/snapshots")
_DIGEST = re.compile(rb"sha(?:256|512):[0-9a-f]{64,128}")


@dataclass(frozen=True, slots=True)
class DatabaseCopy:
    """Facts of a database that was copied as it was at one moment."""

    schema: int
    is_encrypted: bool


def snapshot(source: Path, target: Path) -> DatabaseCopy:
    """Copy a database as it is at one moment, while others write to it; raises BackupError."""
    target.touch(mode=0o600)
    try:
        # In one step: others write on meanwhile, into the log beside the file.
        with closing(sqlite3.connect(source)) as found, closing(sqlite3.connect(target)) as copy:
            found.backup(copy)
            verdict = str(copy.execute("PRAGMA quick_check(1)").fetchone()[0])
            if verdict != "ok":
                raise BackupError(
                    f"{source} is damaged ({verdict.splitlines()[0]}): see docs/data-folder.md"
                )
            schema = int(copy.execute("PRAGMA user_version").fetchone()[0])
            facts = _facts(copy)
    except sqlite3.Error as error:
        raise BackupError(f"{source} cannot be copied: {error}") from error
    return DatabaseCopy(schema, bool(WrappedKey.of_facts(facts)))


def _facts(connection: sqlite3.Connection) -> dict[str, str]:
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema")}
    if "facts" not in tables:
        return {}
    return dict(connection.execute("SELECT name, value FROM facts"))


def named_digests(database: Path) -> Collection[str]:
    """Return the digests that any object of a plain database names, or named a while ago."""
    found: set[str] = set()
    with closing(sqlite3.connect(database)) as connection:
        for (body,) in connection.execute(
            "SELECT body FROM objects UNION ALL SELECT body FROM changes"
        ):
            text = body if isinstance(body, bytes) else str(body).encode()
            found.update(digest.decode() for digest in _DIGEST.findall(text))
    return found


def plain_files(data: Path, parts: Collection[BackupPart]) -> Iterator[BackupFile]:
    """Yield the files of a data folder besides its databases and its registry."""
    for pattern in _STATE:
        yield from _matching(data, pattern, BackupPart.STATE)
    for pattern in _LOGS if BackupPart.LOGS in parts else ():
        yield from _matching(data, pattern, BackupPart.LOGS)
    for name in _VOLUMES if BackupPart.VOLUMES in parts else ():
        yield from _everything(data, data / name)


def _matching(data: Path, pattern: str, part: BackupPart) -> Iterator[BackupFile]:
    for path in sorted(data.glob(pattern)):
        if path.is_file() and not path.is_symlink() and not is_draft(path):
            yield BackupFile(path, str(path.relative_to(data)), part)


def _everything(data: Path, root: Path) -> Iterator[BackupFile]:
    """Yield a folder with all that is below it: owners and modes of folders are data, too."""
    if not root.is_dir():
        return
    yield BackupFile(root, str(root.relative_to(data)), BackupPart.VOLUMES)
    for folder, folders, files in root.walk():
        folders.sort()
        for name in sorted([*folders, *files]):
            path = folder / name
            yield BackupFile(path, str(path.relative_to(data)), BackupPart.VOLUMES)
