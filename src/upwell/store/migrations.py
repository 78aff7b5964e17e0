"""The database's schema as numbered steps; a step that was released never changes.

`PRAGMA user_version` holds the number of the last step that ran.
"""

import contextlib
import logging
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from upwell.encryption.keyring import WrappedKey
from upwell.machine.databases import transaction

log = logging.getLogger(__name__)

_GET_SCHEMA = "PRAGMA user_version"
_SET_SCHEMA = "PRAGMA user_version = {number:d}"  # a pragma takes no parameters
_COPY = ".schema-"

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """
        CREATE TABLE objects (
            kind TEXT NOT NULL,
            namespace TEXT NOT NULL,
            name TEXT NOT NULL,
            body TEXT NOT NULL,
            PRIMARY KEY (kind, namespace, name)
        ) WITHOUT ROWID
        """,
        """
        CREATE TABLE changes (
            version INTEGER PRIMARY KEY,
            change TEXT NOT NULL,
            kind TEXT NOT NULL,
            previous_labels TEXT,
            body TEXT NOT NULL
        )
        """,
    ),
    # A kind of that name was accepted and did nothing. Its changes stay in the history until they
    # age out, as of no kind that is known: versions are consecutive, and the newest one must not be
    # given out again.
    (
        "DELETE FROM objects WHERE kind = 'Wave'",
        "UPDATE changes SET kind = 'FormerWave' WHERE kind = 'Wave'",
    ),
    # Facts about the database itself: `instance` (the instance-id of its data folder) and
    # `timelines`: one more once the database has lost changes that were acted upon.
    ("CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",),
)


class NewerSchemaError(Exception):
    """A newer version of Upwell has written the database; nothing was changed."""


def migrate(connection: sqlite3.Connection, path: Path) -> None:
    """Bring a database to the newest schema: all steps, or none when anything fails.

    A copy of the former one is kept beside it, for the version before this one. Raises
    NewerSchemaError, OSError or sqlite3.Error.
    """
    done = int(connection.execute(_GET_SCHEMA).fetchone()[0])
    newest = len(MIGRATIONS)
    if done > newest:
        raise NewerSchemaError(_newer(path, done, newest))
    if done == newest:
        return
    if done:
        _keep_copy(connection, path, done)
        log.info("the database's schema is brought up", extra={"from": done, "to": newest})
    with transaction(connection):
        for statements in MIGRATIONS[done:]:
            for statement in statements:
                connection.execute(statement)
        connection.execute(_SET_SCHEMA.format(number=newest))


def remove_plain_copies(path: Path) -> None:
    """Remove copies of former schemas that nothing encrypts, once the database is encrypted."""
    for copy in _copies(path):
        with contextlib.closing(sqlite3.connect(copy)) as connection:
            try:
                facts = dict(connection.execute("SELECT name, value FROM facts"))
            except sqlite3.Error:  # of a schema without them, or none of ours
                facts = {}
        if not WrappedKey.of_facts(facts):
            log.warning("a plain copy of an earlier schema is removed", extra={"file": str(copy)})
            copy.unlink(missing_ok=True)


def _keep_copy(connection: sqlite3.Connection, path: Path, schema: int) -> None:
    """Copy the database to a file for its owner alone; those of earlier schemas go then."""
    kept = path.with_name(f"{path.name}{_COPY}{schema}")
    draft = path.with_name(f"{kept.name}.new")
    draft.unlink(missing_ok=True)
    draft.touch(mode=0o600)
    try:
        with contextlib.closing(sqlite3.connect(draft)) as copy:
            connection.backup(copy)
        with draft.open("rb") as written:
            os.fsync(written.fileno())
        draft.replace(kept)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    for copy_of_earlier in [one for one in _copies(path) if one != kept]:
        copy_of_earlier.unlink(missing_ok=True)


def _copies(path: Path) -> Iterator[Path]:
    prefix = f"{path.name}{_COPY}"
    for one in path.parent.iterdir():
        if one.name.startswith(prefix) and one.name.removeprefix(prefix).isdecimal():
            yield one


def _newer(path: Path, schema: int, newest: int) -> str:
    found = (
        f"a newer version of Upwell has written it (schema {schema}, and this version knows up to"
        f" {newest}). Nothing was changed: install that version or a newer one"
    )
    copies = sorted(one.name for one in _copies(path))
    if copies:
        found += (
            f", or put {copies[-1]}, a copy from before the upgrade, in its place"
            " (docs/backup.md#upgrade)"
        )
    return found
