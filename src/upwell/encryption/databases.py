"""The data keys of one SQLite file: facts in it, wrapped, and the way from one key to the next.

Each row says by itself how it is kept: so what was interrupted is found again at the next start,
and what others write meanwhile is kept as it shall be already.
"""

import sqlite3
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from upwell.encryption.keyring import Keyring, WrappedKey
from upwell.encryption.sealing import DataKey, Sealer
from upwell.machine.databases import transaction

FACTS_TABLE = (
    "CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID"
)
_CURRENT = "current-data-key"
_RESEALING = "resealing"
"""Fact that is there while texts are kept otherwise than they shall be, in rows or freed pages."""
_ALL_FACTS = "SELECT name, value FROM facts"
_PUT_FACT = "INSERT OR REPLACE INTO facts (name, value) VALUES (?, ?)"
_DELETE_FACT = "DELETE FROM facts WHERE name = ?"
_OVERWRITE_FREED = "PRAGMA secure_delete = ON"
"""While texts are sealed anew; afterwards what is freed was sealed too."""
_LEAVE_FREED = "PRAGMA secure_delete = OFF"


class Resealer(Protocol):
    """One way through all rows of a database, which seals them anew."""

    is_done: bool
    seen: int
    """Rows that it has passed."""
    total: int

    def step(self, connection: sqlite3.Connection) -> None:
        """Seal the next rows, within the caller's transaction."""
        ...


class DatabaseKeys:
    """Keys of the database `path`. `rows` makes a Resealer of it for a Sealer.

    Whoever has the connection calls; no method waits for a key but `open`, which raises
    EncryptionKeyError where one is missing, having changed nothing. All raise sqlite3.Error.
    """

    def __init__(self, path: Path, keyring: Keyring, rows: Callable[[Sealer], Resealer]) -> None:
        self._path = path
        self._keyring = keyring
        self._rows = rows
        self._keys: dict[bytes, DataKey] = {}
        self.sealer = Sealer(None)
        """Seals what is written; without a current key, it is to be left plain."""

    def open(self, connection: sqlite3.Connection) -> None:
        """Make the rows what the keyring wants, before anything is read."""
        facts = dict(connection.execute(_ALL_FACTS))
        keys = self._keyring.open(facts, self._path)
        current = bytes.fromhex(facts.get(_CURRENT, "")) or None
        if self._keyring.encrypts and current not in keys:
            made = DataKey.generate()
            keys[made.id], current = made, made.id
            facts |= _begin(connection, self._keyring.wrapped(keys.values()), made)
        elif self._keyring.encrypts and not self._keyring.are_wrapped_by_the_first(facts):
            _put(connection, self._keyring.wrapped(keys.values()))
        elif not self._keyring.encrypts and current is not None:
            facts |= _begin(connection, {}, None)
            current = None
        self._use(keys, current)
        if _RESEALING in facts:
            connection.execute(_OVERWRITE_FREED)
            resealer = self._rows(self.sealer)
            while not resealer.is_done:
                self.step(connection, resealer)
            # Pages that were freed before hold plain texts still. What ends it goes on next time.
            connection.execute("VACUUM")
            truncate_log(connection)
            self.finish(connection)

    def begin(
        self, connection: sqlite3.Connection, made: DataKey, facts: Mapping[str, str]
    ) -> Resealer:
        """Seal by a new key from now on, which `facts` keep; return the way through the rows."""
        _begin(connection, facts, made)
        self._use({**self._keys, made.id: made}, made.id)
        return self._rows(self.sealer)

    def step(self, connection: sqlite3.Connection, resealer: Resealer) -> None:
        """Seal the next rows anew."""
        with transaction(connection):
            resealer.step(connection)

    def finish(self, connection: sqlite3.Connection) -> None:
        """Forget the data keys that seal nothing any more."""
        current = self.sealer.current
        needed = {} if current is None else {current.id: current}
        with transaction(connection):
            for key in WrappedKey.of_facts(dict(connection.execute(_ALL_FACTS))):
                if key.id not in needed:
                    connection.execute(_DELETE_FACT, (key.fact[0],))
            connection.execute(_DELETE_FACT, (_RESEALING,))
        connection.execute(_LEAVE_FREED)
        self._use(needed, current.id if current else None)

    def _use(self, keys: dict[bytes, DataKey], current: bytes | None) -> None:
        self._keys = keys
        self.sealer = Sealer(keys[current] if current is not None else None, keys.values())


def truncate_log(connection: sqlite3.Connection) -> None:
    """Move everything into the file itself; the log beside it is empty then."""
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def _begin(
    connection: sqlite3.Connection, facts: Mapping[str, str], key: DataKey | None
) -> dict[str, str]:
    """Write down that rows are to be sealed by a key, and return what was written."""
    connection.execute(_OVERWRITE_FREED)
    written = {**facts, _RESEALING: "1", _CURRENT: key.id.hex() if key else ""}
    _put(connection, written)
    return written


def _put(connection: sqlite3.Connection, facts: Mapping[str, str]) -> None:
    with transaction(connection):
        connection.executemany(_PUT_FACT, facts.items())
