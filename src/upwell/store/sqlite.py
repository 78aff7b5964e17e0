"""The store of one machine: a SQLite file as the journal under objects in memory.

`synchronous=FULL` in WAL mode: an acknowledged write survives the power cut as well as `kill -9`.
That costs an fsync for each batch, milliseconds on a slow disk, so all SQL runs in one thread of
its own and the event loop never waits for a disk; the writes of that time share the next fsync.
"""

import asyncio
import contextlib
import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from upwell.api.codec import InvalidObjectError, UnknownKindError, decode_as, resource_of_kind
from upwell.api.defaults import as_stored
from upwell.api.meta import ObjectKey, Resource
from upwell.encryption.databases import DatabaseKeys, Resealer, truncate_log
from upwell.encryption.keyring import Keyring
from upwell.encryption.sealing import DataKey
from upwell.machine.databases import (
    DamagedDatabaseError,
    next_step,
    open_database,
    transaction,
)
from upwell.store.encryption.envelope import EnvelopeCipher, EnvelopeError, SealedIdentity
from upwell.store.encryption.resealing import StoreResealer
from upwell.store.history import ChangeRecord, History
from upwell.store.interface import (
    Change,
    RejectedError,
    StoreEncryption,
    StoreError,
    UnavailableError,
)
from upwell.store.local import HISTORY_LIMIT, Clock, LocalStore
from upwell.store.migrations import NewerSchemaError, migrate, remove_plain_copies
from upwell.store.process_lock import ProcessLock

_PRAGMAS = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA trusted_schema = OFF",
    "PRAGMA journal_size_limit = 8388608",  # what a burst of writes took is given back
)
_INSTANCE = "instance"
_TIMELINES = "timelines"
_FOLDER = "folder"
_RESTORE = "restore a copy of it with its -wal file"
_ALL_OBJECTS = "SELECT kind, namespace, name, body FROM objects"
_ALL_CHANGES = "SELECT version, change, kind, previous_labels, body FROM changes ORDER BY version"
_PUT_OBJECT = "INSERT OR REPLACE INTO objects (kind, namespace, name, body) VALUES (?, ?, ?, ?)"
_DELETE_OBJECT = "DELETE FROM objects WHERE kind = ? AND namespace = ? AND name = ?"
_ADD_CHANGE = (
    "INSERT INTO changes (version, change, kind, previous_labels, body) VALUES (?, ?, ?, ?, ?)"
)
_ALL_FACTS = "SELECT name, value FROM facts"
_PUT_FACT = "INSERT OR REPLACE INTO facts (name, value) VALUES (?, ?)"
_FORGET_CHANGES = "DELETE FROM changes WHERE version <= ?"


class DamagedStoreError(StoreError):
    """The file cannot be read as a store; nothing in it was changed."""

    reason = "Damaged"

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(f"{path} cannot be used: {why}")


@dataclass(frozen=True, slots=True)
class _Contents:
    """Content of the file when it was opened."""

    resources: Sequence[Resource]
    history: History
    facts: Mapping[str, str]


class _SqliteJournal:
    """Appends batches to the file, each in one transaction, in a thread that does nothing else."""

    def __init__(self, path: Path, lock: ProcessLock, history_limit: int, keyring: Keyring) -> None:
        self._path = path
        self._keyring = keyring
        self._keys = DatabaseKeys(path, keyring, StoreResealer)
        self._cipher = EnvelopeCipher(self._keys.sealer)
        self._resealer: Resealer | None = None
        self._lock = lock
        self._history_limit = history_limit
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="store")
        self._connection: sqlite3.Connection | None = None

    @property
    def folder(self) -> Path:
        """The folder that the file is in."""
        return self._path.parent.absolute()

    async def open(self) -> _Contents:
        """Open the file, migrate it and read everything; raises DamagedStoreError."""
        return await self._run(self._open)

    async def append(self, records: Sequence[ChangeRecord], forgotten: int) -> None:
        """Keep all of `records` or none; raises UnavailableError."""
        await self._run(lambda: self._append(records, forgotten))

    async def put_facts(self, facts: Mapping[str, str]) -> None:
        """Write facts about the database itself; raises UnavailableError."""
        await self._run(lambda: self._put_facts(facts))

    async def close(self) -> None:
        """Close the file and let another process have it."""
        await self._run(self._close)
        self._thread.shutdown()
        self._lock.release()

    async def _run[T](self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _open(self) -> _Contents:
        try:
            self._connection = connection = open_database(self._path, _set_up)
            migrate(connection, self._path)
            self._keys.open(connection)
            if self._keyring.encrypts:
                remove_plain_copies(self._path)
            self._cipher = EnvelopeCipher(self._keys.sealer)
            return self._load(connection)
        except DamagedDatabaseError as error:
            raise DamagedStoreError(self._path, f"{error.why}: {_RESTORE}") from error
        except EnvelopeError as error:
            raise DamagedStoreError(self._path, f"an envelope: {error}: {_RESTORE}") from error
        except NewerSchemaError as error:
            raise DamagedStoreError(self._path, str(error)) from error
        except sqlite3.OperationalError as error:
            why = f"{self._path} cannot be opened: {error}{next_step(error)}"
            raise UnavailableError(why) from error
        except sqlite3.DatabaseError as error:
            raise DamagedStoreError(self._path, f"{error}: {_RESTORE}") from error

    def _load(self, connection: sqlite3.Connection) -> _Contents:
        resources = list(self._resources(connection))
        current = {resource.resource_version: resource for resource in resources}
        versions = {
            one.key: int(version) for version, one in current.items() if version.isdecimal()
        }
        history = History(limit=self._history_limit)
        for version, change, kind, labels, kept in connection.execute(_ALL_CHANGES):
            identity, body = self._opened(kept)
            if identity is not None and (identity.kind, identity.version) != (kind, str(version)):
                raise EnvelopeError(f"change {version} has that of {identity}")
            if identity is not None and versions.get(identity.key, version) < version:
                raise EnvelopeError(f"{identity.key} has an older one than change {version}")
            try:
                resource = current.get(str(version)) or self._decode(kind, body)
            except UnknownKindError:
                # No object of it is left: a watch from before this change has to list again.
                history = History(newest=version, limit=self._history_limit)
                continue
            previous = None if labels is None else json.loads(labels)
            history.publish([ChangeRecord(version, Change(change), resource, previous, body)])
        return _Contents(resources, history, dict(connection.execute(_ALL_FACTS)))

    async def rotate(self) -> None:
        """Seal everything by a new data key, a batch at a time: others write in between.

        Raises RejectedError where nothing is encrypted, EncryptionKeyError or UnavailableError.
        What is interrupted goes on at the next start.
        """
        if not self._keyring.encrypts:
            raise RejectedError(
                "nothing is encrypted: name a key in [encryption] keys, and start the server again"
            )
        made = DataKey.generate()
        facts = await asyncio.to_thread(self._keyring.wrapped, [made])
        self._resealer = resealer = await self._run(lambda: self._begin_rotation(made, facts))
        try:
            while not resealer.is_done:
                await self._run(lambda: self._step(resealer))
            await self._run(self._finish_rotation)
        finally:
            self._resealer = None

    def _begin_rotation(self, made: DataKey, facts: Mapping[str, str]) -> Resealer:
        with self._using() as connection:
            resealer = self._keys.begin(connection, made, facts)
        self._cipher = EnvelopeCipher(self._keys.sealer)
        return resealer

    def _step(self, resealer: Resealer) -> None:
        try:
            with self._using() as connection:
                self._keys.step(connection, resealer)
        except EnvelopeError as error:
            raise DamagedStoreError(self._path, f"an envelope: {error}: {_RESTORE}") from error

    def _finish_rotation(self) -> None:
        with self._using() as connection:
            self._keys.finish(connection)
            self._cipher = EnvelopeCipher(self._keys.sealer)
            truncate_log(connection)

    def encryption(self) -> StoreEncryption:
        """Return what is encrypted, and how far a rotation is."""
        key, resealer = self._keys.sealer.current, self._resealer
        left = 0 if resealer is None else max(0, resealer.total - resealer.seen)
        return StoreEncryption(
            self._keyring.first if key else "",
            key.id.hex() if key else "",
            rows_left=left,
        )

    def _resources(self, connection: sqlite3.Connection) -> Iterator[Resource]:
        for kind, namespace, name, kept in connection.execute(_ALL_OBJECTS):
            identity, body = self._opened(kept)
            key = ObjectKey(kind, namespace, name)
            if identity and identity.key != key:
                raise EnvelopeError(f"{key} has that of {identity}")
            try:
                yield self._decode(kind, body)
            except UnknownKindError:
                why = _unknown_kind(key)
                raise DamagedStoreError(self._path, why) from None

    def _opened(self, kept: str | bytes) -> tuple[SealedIdentity | None, str]:
        """Return a text and its place; raises EnvelopeError for a plain one among sealed ones."""
        if not self._cipher.is_sealed_alike(kept):
            raise EnvelopeError("there is none, and all else is sealed")
        return self._cipher.open(kept)

    def _decode(self, kind: str, body: str) -> Resource:
        """Return the object, with defaults that earlier versions did not store.

        Raises UnknownKindError or DamagedStoreError.
        """
        resource = resource_of_kind(kind)
        try:
            return as_stored(decode_as(resource, body))
        except InvalidObjectError as error:
            raise DamagedStoreError(self._path, f"{error}: {_RESTORE}") from error

    def _append(self, records: Sequence[ChangeRecord], forgotten: int) -> None:
        with self._writing() as connection:
            for record in records:
                _write(connection, record, self._cipher)
            counted = records[-1].version - self._history_limit
            connection.execute(_FORGET_CHANGES, (max(counted, forgotten),))

    def _put_facts(self, facts: Mapping[str, str]) -> None:
        with self._writing() as connection:
            connection.executemany(_PUT_FACT, facts.items())

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """Keep all that is written in the block, or nothing."""
        with self._using() as connection, transaction(connection):
            yield connection

    @contextlib.contextmanager
    def _using(self) -> Iterator[sqlite3.Connection]:
        """Raise UnavailableError for faults of the file within the block."""
        connection = self._connection
        if connection is None:
            raise UnavailableError(f"{self._path} is closed")
        try:
            yield connection
        except sqlite3.Error as error:
            why = f"{self._path} was not written: {error}{next_step(error)}"
            raise UnavailableError(why) from error

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class SqliteStore(LocalStore):
    """Objects that outlive the process; made by `open`, for one process at a time."""

    def __init__(self, clock: Clock, journal: _SqliteJournal, contents: _Contents) -> None:
        super().__init__(clock, journal, contents.history, contents.resources)
        self._file = journal
        self._facts = {
            name: contents.facts[name]
            for name in (_INSTANCE, _TIMELINES, _FOLDER)
            if name in contents.facts
        }
        self._rotation: asyncio.Task[None] | None = None

    @property
    def instance_id(self) -> str:
        """The data folder that the database belongs to; empty: none yet."""
        return self._facts.get(_INSTANCE, "")

    @property
    def folder(self) -> str:
        """The data folder at which it was served last; empty: unknown."""
        return self._facts.get(_FOLDER, "")

    @property
    def timelines(self) -> Sequence[str]:
        """Names of its unbroken runs of changes, as after a recovery, the present one last."""
        return self._facts.get(_TIMELINES, "").split()

    @property
    def timeline(self) -> str:
        """Name of the present timeline; empty: none yet."""
        return next(reversed(self.timelines), "")

    @property
    def newest_version(self) -> int:
        """Version of the last change; 0: nothing was ever written."""
        return self._version

    async def identify(self, instance_id: str, timelines: Sequence[str]) -> None:
        """Write down what the database belongs to, and its timelines. Raises UnavailableError."""
        facts = {
            _INSTANCE: instance_id,
            _TIMELINES: " ".join(timelines),
            _FOLDER: str(self._file.folder),
        }
        if facts != self._facts:
            await self._file.put_facts(facts)
            self._facts = facts

    @property
    def encryption(self) -> StoreEncryption:
        """Encryption of the file, and the progress of a rotation."""
        is_rotating = self._rotation is not None and not self._rotation.done()
        return replace(self._file.encryption(), is_rotating=is_rotating)

    async def rotate(self) -> None:
        """Seal all objects and their history by a new data key; one rotation at a time.

        It goes on when the caller is cancelled. Raises RejectedError, or a StoreError.
        """
        if self._rotation is None or self._rotation.done():
            self._rotation = asyncio.create_task(self._file.rotate(), name="store:rotate")
        await asyncio.shield(self._rotation)

    @classmethod
    async def open(
        cls,
        path: Path,
        *,
        clock: Clock,
        history_limit: int = HISTORY_LIMIT,
        keyring: Keyring | None = None,
    ) -> Self:
        """Open or make the file at `path`; `clock` returns the time in UTC.

        The first key of `keyring` encrypts, all open what is encrypted; without, nothing is.
        Raises LockedError, naming the process that has it open, DamagedStoreError,
        EncryptionKeyError, or UnavailableError if it cannot be opened.
        """
        try:
            lock = _claim(path)
        except OSError as error:
            raise UnavailableError(f"{path} cannot be opened: {error}") from error
        keyring = keyring or Keyring((), path.parent)
        journal = _SqliteJournal(path, lock, history_limit, keyring)
        try:
            contents = await journal.open()
        except BaseException:
            await journal.close()
            raise
        return cls(clock, journal, contents)

    async def close(self) -> None:
        """Finish the writes that are under way, and let another process have the file."""
        if not self.is_closed:
            if self._rotation is not None and not self._rotation.done():
                self._rotation.cancel()  # goes on at the next start
                await asyncio.wait({self._rotation})
            await super().close()
            await self._file.close()


def _unknown_kind(key: ObjectKey) -> str:
    delete = f"upwell delete {key.kind.lower()}/{key.name}"
    if key.namespace:
        delete += f" -n {key.namespace}"
    return (
        f"it holds {key}, and this version of Upwell does not know the kind {key.kind}: start the"
        f" version that wrote it; to use this one, first delete the object there (`{delete}`)"
    )


def _set_up(connection: sqlite3.Connection) -> None:
    for pragma in _PRAGMAS:
        connection.execute(pragma)


def _claim(path: Path) -> ProcessLock:
    return ProcessLock.acquire(path.with_name(f"{path.name}.lock"))


def _write(connection: sqlite3.Connection, record: ChangeRecord, cipher: EnvelopeCipher) -> None:
    key = record.resource.key
    identity = SealedIdentity(
        key.kind, key.namespace, key.name, record.resource.uid, str(record.version)
    )
    kept = cipher.seal(identity, record.body)
    if record.change is Change.DELETED:
        connection.execute(_DELETE_OBJECT, (key.kind, key.namespace, key.name))
    else:
        connection.execute(_PUT_OBJECT, (key.kind, key.namespace, key.name, kept))
    labels = None if record.previous_labels is None else json.dumps(dict(record.previous_labels))
    change = (record.version, record.change.value, key.kind, labels, kept)
    connection.execute(_ADD_CHANGE, change)
