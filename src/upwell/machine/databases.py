"""Opening of SQLite files: damage is found before anything is read, never half-used.

A file that is derived from others is made anew, and the log says so. Any other is refused, with the
file's name: what to do about it, its owner says.
"""

import contextlib
import logging
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

from upwell.machine.private_file import make_private, require_file

log = logging.getLogger(__name__)

_BESIDE = ("-wal", "-shm", "-journal")
_ALWAYS_CHECKED_BYTES = 256 * 1024 * 1024
"""A larger file is checked only after a process that did not close it: a second per gigabyte."""
_NEXT_STEPS = {
    sqlite3.SQLITE_FULL: "free space, or enlarge the disk",
    sqlite3.SQLITE_IOERR: "free space, or see `dmesg` for faults of the disk",
    sqlite3.SQLITE_CANTOPEN: "free space, and see that the folder can be written to",
    sqlite3.SQLITE_READONLY: "mount the file system for writing again",
}

type Setup = Callable[[sqlite3.Connection], None]
"""Sets a connection up: its pragmas and tables."""


def with_tables(script: str) -> Setup:
    """Return the setup of a file with these tables, which a loss of power may set back a little.

    `script` runs at each start: it makes what is not there yet. Readers hold no writer up (WAL).
    """

    def set_up(connection: sqlite3.Connection) -> None:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.executescript(script)

    return set_up


class DamagedDatabaseError(Exception):
    """The file is not what was written; nothing in it was changed."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(f"{path} is damaged ({why})")
        self.why = why


def open_database(path: Path, setup: Setup) -> sqlite3.Connection:
    """Open or make the file, readable by its owner alone, and check it.

    Raises DamagedDatabaseError, OSError, or sqlite3.OperationalError when it cannot be opened.
    """
    for file in (path, *(path.with_name(f"{path.name}{ending}") for ending in _BESIDE)):
        require_file(file)
    unclean = _is_unclean(path)
    path.touch(mode=0o600)
    make_private(path)
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        setup(connection)
        if unclean or path.stat().st_size <= _ALWAYS_CHECKED_BYTES:
            _check(connection, path)
    except sqlite3.OperationalError:
        connection.close()
        raise
    except sqlite3.DatabaseError as error:
        connection.close()
        raise DamagedDatabaseError(path, str(error)) from error
    except BaseException:
        connection.close()
        raise
    return connection


def open_derived(path: Path, setup: Setup, made_from: str) -> sqlite3.Connection:
    """Open the file, or begin it anew when it is damaged: all of it can be made from `made_from`.

    Raises OSError, or sqlite3.OperationalError when it cannot be opened.
    """
    try:
        return open_database(path, setup)
    except DamagedDatabaseError as error:
        log.warning("begun anew", extra={"file": str(path), "why": str(error), "from": made_from})
    for file in (path, *(path.with_name(f"{path.name}{ending}") for ending in _BESIDE)):
        file.unlink(missing_ok=True)
    return open_database(path, setup)


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Keep all that is written in the block, or nothing; raises sqlite3.Error."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        # A full disk may have rolled back already; then there is nothing left to undo.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def next_step(error: sqlite3.Error) -> str:
    """Return what to do about a fault of the disk, to be said after it."""
    # The low byte is the code, the rest says more of it (sqlite.org/rescode.html).
    step = _NEXT_STEPS.get(getattr(error, "sqlite_errorcode", 0) & 0xFF)
    return f"; {step}" if step else ""


def _check(connection: sqlite3.Connection, path: Path) -> None:
    verdict = str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])
    if verdict != "ok":
        raise DamagedDatabaseError(path, verdict.splitlines()[0])


def _is_unclean(path: Path) -> bool:
    """Return True if the process that had the file open last did not close it."""
    beside = path.with_name(f"{path.name}-wal")
    return beside.exists() and beside.stat().st_size > 0
