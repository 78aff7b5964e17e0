"""The outbox in one SQLite file.

`synchronous=NORMAL` in WAL mode: `kill -9` loses nothing. A power cut may take the last moments:
then what was added is derived anew from the objects, and what was delivered is delivered again.
Every statement takes microseconds, so none leaves the event loop.
"""

import asyncio
import contextlib
import json
import logging
import sqlite3
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from upwell.delivery.interface import (
    SETTLED_LETTERS,
    DeadLetter,
    Delivery,
    DeliveryStats,
    Envelope,
    Fate,
    OutboxContents,
    OutboxError,
    period_of,
)
from upwell.delivery.outbox_schema import OUTBOX_TABLES
from upwell.delivery.sealed_events import EventResealer, SealedEvents
from upwell.delivery.sqlite_contents import read_contents, write_contents
from upwell.encryption.databases import DatabaseKeys, Resealer, truncate_log
from upwell.encryption.keyring import Keyring
from upwell.encryption.sealing import DataKey, SealError
from upwell.machine import clock
from upwell.machine.databases import DamagedDatabaseError, open_database, transaction, with_tables

log = logging.getLogger(__name__)

MOST_PENDING = 10_000
"""Events that wait for one Subscription at once; of more, the oldest are given up."""
MOST_DEAD = 1000
"""Dead letters of one Subscription; of more, the oldest lose their content."""

_DAMAGED = "it is damaged, or not what was put there, and was not sent"
_ENVELOPE = "id, type, subject, severity, message, body"
_ADD = f"""
INSERT INTO event (subscription, {_ENVELOPE}, state, settled) SELECT ?, ?, ?, ?, ?, ?, ?, ?, ?
WHERE NOT EXISTS (SELECT 1 FROM settled_elsewhere WHERE id = substr(?2, 1, {SETTLED_LETTERS}))
ON CONFLICT (subscription, id) DO NOTHING
"""  # noqa: S608 - constants
_NEXT_DUE = f"""
SELECT number, subscription, {_ENVELOPE}, due, attempts, reached FROM event WHERE number IN (
    SELECT min(number) FROM event WHERE subscription = ? AND state = 'waiting' GROUP BY subject
) ORDER BY due, number LIMIT ?
"""  # noqa: S608 - a constant list of columns
_SETTLE = """
UPDATE event SET state = 'delivered', settled = ?, body = x'', message = '', error = ''
WHERE number = ? AND state = 'waiting'
"""
_COUNT = """
INSERT INTO tally (subscription, delivered, last) VALUES (?, 1, ?)
ON CONFLICT (subscription) DO UPDATE SET delivered = delivered + 1, last = excluded.last
"""
_POSTPONE = """
UPDATE event SET due = ?, attempts = attempts + 1, error = ?, reached = ?
WHERE number = ? AND state = 'waiting'
"""
_MARK_DEAD = """
UPDATE event SET state = 'dead', settled = ?, attempts = attempts + 1, error = ?
WHERE number = ? AND state = 'waiting'
"""
_MARK_DAMAGED = "UPDATE event SET state = 'dead', settled = ?, error = ? WHERE number = ?"
_MARK_SURPLUS_DEAD = """
UPDATE event SET state = 'dead', settled = ?, error = 'too many events wait'
WHERE number IN (
    SELECT number FROM event WHERE subscription = ? AND state IN ('waiting', 'gathered')
    ORDER BY number DESC LIMIT -1 OFFSET ?
)
"""
_EMPTY_SURPLUS = """
UPDATE event SET state = 'dropped', body = x'', message = '' WHERE number IN (
    SELECT number FROM event WHERE subscription = ? AND state = 'dead'
    ORDER BY number DESC LIMIT -1 OFFSET ?
)
"""
_RETRY_NOW = "UPDATE event SET due = 0 WHERE subscription = ? AND state = 'waiting'"
_STATES = "SELECT state, count(*) FROM event WHERE subscription = ? GROUP BY state"
_TROUBLE = """
SELECT id, error FROM event WHERE subscription = ? AND state = 'waiting' AND attempts > 0
ORDER BY number LIMIT 1
"""
_STATS = "SELECT delivered, last FROM tally WHERE subscription = ?"
_DEAD = f"""
SELECT {_ENVELOPE}, settled, attempts, error FROM event
WHERE subscription = ? AND state = 'dead' ORDER BY number
"""  # noqa: S608 - a constant list of columns
_REPLAY = """
UPDATE event SET state = 'waiting', due = 0, attempts = 0, error = '', settled = NULL
WHERE subscription = ? AND state = 'dead'
"""
_ONE = " AND id = ?"
_GATHERED = f"""
SELECT number, {_ENVELOPE} FROM event WHERE subscription = ? AND state = 'gathered' ORDER BY number
"""  # noqa: S608 - a constant list of columns
_DIGEST = """
UPDATE event SET state = 'digested', settled = ?, body = x'', message = ''
WHERE subscription = ? AND state = 'gathered'
"""
_RELEASE = "UPDATE event SET state = 'waiting' WHERE subscription = ? AND state = 'gathered'"
_SUBSCRIPTIONS = "SELECT DISTINCT subscription FROM event UNION SELECT subscription FROM tally"
_FORGET = "DELETE FROM event WHERE subscription = ?"
_FORGET_STATS = "DELETE FROM tally WHERE subscription = ?"
_REMOVE_SETTLED = "DELETE FROM event WHERE settled < ? AND state != 'dead'"
_REMOVE_DEAD = "DELETE FROM event WHERE settled < ? AND state = 'dead'"
_REMOVE_PERIODS = "DELETE FROM settled_elsewhere WHERE period < ?"


class SqliteOutbox:
    """Implements Outbox in the file `path`. Deleting the file repeats the events of three days.

    The first key of `keyring` encrypts what events say. Raises OutboxError when the file cannot be
    used, or EncryptionKeyError.
    """

    def __init__(
        self,
        path: Path,
        *,
        keyring: Keyring | None = None,
        most_pending: int = MOST_PENDING,
        most_dead: int = MOST_DEAD,
    ) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._keyring = keyring or Keyring((), path.parent)
        self._keys = DatabaseKeys(path, self._keyring, EventResealer)
        self._rotation: Resealer | None = None
        self._replacements = 0
        """Changes by other connections than this one."""
        self._whole = asyncio.Lock()
        """Held by whoever writes all events anew: none is left with a key that is forgotten."""
        self._most_pending = most_pending
        self._most_dead = most_dead
        try:
            self._connection = open_database(path, with_tables(OUTBOX_TABLES))
        except DamagedDatabaseError as error:
            why = (
                f"{error}: restore it with its -wal file from a copy, or remove them:"
                " dead letters are lost then, and the events of the last three days are sent again"
            )
            raise OutboxError(why) from error
        except sqlite3.Error as error:
            raise OutboxError(f"{path} cannot be opened: {error}") from error
        try:
            self._keys.open(self._connection)
        except sqlite3.Error as error:
            self._connection.close()
            raise OutboxError(f"{path} cannot be opened: {error}") from error
        except BaseException:
            self._connection.close()
            raise

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def add(self, subscription: str, events: Sequence[tuple[Envelope, Fate]], now: datetime) -> int:
        """Keep all events or none; return how many were new and are to be sent."""
        new = 0
        with self._transaction() as connection:
            for envelope, fate in events:
                new += self._insert(connection, subscription, envelope, fate, now)
            if new:
                self._bound(connection, subscription, now)
        return new

    def next_due(self, subscription: str, limit: int) -> Sequence[Delivery]:
        """Return the earliest waiting delivery of each subject, the first due first."""
        with self._guarded() as connection:
            rows = connection.execute(_NEXT_DUE, (subscription, limit)).fetchall()
        found = []
        for number, owner, *parts, due, attempts, reached in rows:
            envelope = self._opened(number, owner, Envelope(*parts))
            if envelope is not None:
                until = _time(due)
                found.append(Delivery(number, owner, envelope, until, attempts, _names(reached)))
        return found

    def delivered(self, delivery: Delivery, now: datetime) -> None:
        """Settle a delivery."""
        with self._transaction() as connection:
            if connection.execute(_SETTLE, (now.timestamp(), delivery.number)).rowcount:
                connection.execute(_COUNT, (delivery.subscription, now.timestamp()))

    def postpone(
        self, delivery: Delivery, until: datetime, error: str, reached: Collection[str]
    ) -> None:
        """Count a failed try, and wait."""
        names = json.dumps(sorted(reached))
        kept = self._kept_error(delivery, error)
        with self._guarded() as connection:
            connection.execute(_POSTPONE, (until.timestamp(), kept, names, delivery.number))

    def dead_letter(self, delivery: Delivery, now: datetime, error: str) -> None:
        """Give a delivery up: later events of its subject go on."""
        with self._transaction() as connection:
            kept = self._kept_error(delivery, error)
            connection.execute(_MARK_DEAD, (now.timestamp(), kept, delivery.number))
            connection.execute(_EMPTY_SURPLUS, (delivery.subscription, self._most_dead))

    def retry_now(self, subscription: str) -> None:
        """Make everything that waits due now."""
        with self._guarded() as connection:
            connection.execute(_RETRY_NOW, (subscription,))

    def stats(self, subscription: str) -> DeliveryStats:
        """Say how a Subscription stands."""
        with self._guarded() as connection:
            states = dict(connection.execute(_STATES, (subscription,)).fetchall())
            delivered, last = connection.execute(_STATS, (subscription,)).fetchone() or (0, None)
            event, trouble = connection.execute(_TROUBLE, (subscription,)).fetchone() or ("", "")
        return DeliveryStats(
            delivered=delivered,
            pending=states.get("waiting", 0),
            gathered=states.get("gathered", 0),
            dead=states.get("dead", 0),
            last_delivery=None if last is None else _time(last),
            trouble=self._error(subscription, event, trouble),
        )

    def dead_letters(self, subscription: str) -> Sequence[DeadLetter]:
        """Return what was given up, in the order in which it came."""
        with self._guarded() as connection:
            rows = connection.execute(_DEAD, (subscription,)).fetchall()
        return [
            self._dead_letter(subscription, Envelope(*parts), _time(died), attempts, error)
            for *parts, died, attempts, error in rows
        ]

    def _dead_letter(
        self, subscription: str, kept: Envelope, died: datetime, attempts: int, error: str | bytes
    ) -> DeadLetter:
        try:
            envelope = self._events.envelope(subscription, kept)
        except SealError:
            return DeadLetter(replace(kept, message="", body=b""), died, attempts, _DAMAGED)
        return DeadLetter(envelope, died, attempts, self._error(subscription, kept.id, error))

    def replay(self, subscription: str, ids: Collection[str] | None) -> int:
        """Let dead letters (None: all) wait again, in their old order; return how many."""
        with self._transaction() as connection:
            if ids is None:
                return connection.execute(_REPLAY, (subscription,)).rowcount
            return sum(
                connection.execute(_REPLAY + _ONE, (subscription, one)).rowcount for one in set(ids)
            )

    def gathered(self, subscription: str) -> Sequence[Envelope]:
        """Return the events that wait for a digest."""
        with self._guarded() as connection:
            rows = connection.execute(_GATHERED, (subscription,)).fetchall()
        found = [self._opened(number, subscription, Envelope(*parts)) for number, *parts in rows]
        return [one for one in found if one is not None]

    def digest(self, subscription: str, digest: Envelope, now: datetime) -> bool:
        """Put a digest in the place of what was gathered; False when it was made before."""
        with self._transaction() as connection:
            if not self._insert(connection, subscription, digest, Fate.SEND, now):
                return False
            connection.execute(_DIGEST, (now.timestamp(), subscription))
            return True

    def release(self, subscription: str) -> None:
        """Let what was gathered wait for delivery one by one: no digest is wanted any more."""
        with self._guarded() as connection:
            connection.execute(_RELEASE, (subscription,))

    def subscriptions(self) -> Collection[str]:
        """Return the uids of all Subscriptions for which something is kept."""
        with self._guarded() as connection:
            return {row[0] for row in connection.execute(_SUBSCRIPTIONS)}

    def forget(self, subscription: str) -> None:
        """Remove all that is kept for a Subscription."""
        with self._transaction() as connection:
            connection.execute(_FORGET, (subscription,))
            connection.execute(_FORGET_STATS, (subscription,))

    def remove_old(self, settled_before: datetime, dead_before: datetime) -> None:
        """Remove what was settled, and what died, before these times."""
        with self._transaction() as connection:
            connection.execute(_REMOVE_SETTLED, (settled_before.timestamp(),))
            connection.execute(_REMOVE_DEAD, (dead_before.timestamp(),))
            connection.execute(_REMOVE_PERIODS, (period_of(settled_before.timestamp()),))

    @property
    def changes(self) -> int:
        """Number that is another one after each change of what is kept."""
        return self._connection.total_changes + self._replacements

    def contents(self, periods: Collection[int]) -> OutboxContents:
        """Return what is kept; of what was settled, these periods. May be called in a thread."""
        return read_contents(self._path, self._events, periods)

    async def replace(self, contents: OutboxContents) -> None:
        """Keep this, and nothing of what was kept before. Nothing else may change it meanwhile."""
        async with self._whole:
            # Ten thousand events take a second, so they are written beside the event loop.
            writing = asyncio.to_thread(write_contents, self._path, self._events, contents)
            work = asyncio.create_task(writing)
            self._replacements += 1
            try:
                await asyncio.shield(work)
            except asyncio.CancelledError:
                # A thread cannot be cut off, and the next term's contents must not come before.
                await asyncio.wait({work})
                raise

    def encryption_left(self) -> int:
        """Return how many events a rotation has not passed yet."""
        rotation = self._rotation
        return 0 if rotation is None else max(0, rotation.total - rotation.seen)

    async def rotate(self) -> None:
        """Seal all events by a new data key, some at a time; none where nothing is to be sealed.

        One that is cut off goes on at the next start. Raises EncryptionKeyError or OutboxError.
        """
        if not self._keyring.encrypts:
            return
        async with self._whole:
            await self._seal_anew()

    async def _seal_anew(self) -> None:
        made = DataKey.generate()
        facts = await asyncio.to_thread(self._keyring.wrapped, [made])
        with self._guarded() as connection:
            self._rotation = resealer = self._keys.begin(connection, made, facts)
        try:
            while not resealer.is_done:
                with self._guarded() as connection:
                    self._keys.step(connection, resealer)
                await asyncio.sleep(0)
            with self._guarded() as connection:
                self._keys.finish(connection)
                truncate_log(connection)
        finally:
            self._rotation = None

    @property
    def _events(self) -> SealedEvents:
        return SealedEvents(self._keys.sealer)

    def _opened(self, number: int, subscription: str, kept: Envelope) -> Envelope | None:
        """Return an event as it was put in; one that is damaged is given up."""
        try:
            return self._events.envelope(subscription, kept)
        except SealError as error:
            log.warning("an event is damaged", extra={"file": str(self._path), "why": str(error)})
        with self._guarded() as connection:
            connection.execute(_MARK_DAMAGED, (clock.now().timestamp(), _DAMAGED, number))
        return None

    def _kept_error(self, delivery: Delivery, error: str) -> str | bytes:
        event = (delivery.subscription, delivery.envelope.id)
        return self._events.kept(event, "error", error)

    def _error(self, subscription: str, event: str, kept: str | bytes) -> str:
        try:
            return self._events.text((subscription, event), "error", kept)
        except SealError:
            return _DAMAGED

    def _insert(
        self,
        connection: sqlite3.Connection,
        subscription: str,
        envelope: Envelope,
        fate: Fate,
        now: datetime,
    ) -> bool:
        """Return whether the event was new and is to be sent."""
        skipped, event = fate is Fate.SKIP, (subscription, envelope.id)
        row = (
            subscription,
            envelope.id,
            envelope.type,
            envelope.subject,
            envelope.severity,
            "" if skipped else self._events.kept(event, "message", envelope.message),
            b"" if skipped else self._events.kept(event, "body", envelope.body),
            fate.value,
            now.timestamp() if skipped else None,
        )
        return connection.execute(_ADD, row).rowcount > 0 and not skipped

    def _bound(self, connection: sqlite3.Connection, subscription: str, now: datetime) -> None:
        surplus = (now.timestamp(), subscription, self._most_pending)
        if connection.execute(_MARK_SURPLUS_DEAD, surplus).rowcount:
            connection.execute(_EMPTY_SURPLUS, (subscription, self._most_dead))

    @contextlib.contextmanager
    def _guarded(self) -> Iterator[sqlite3.Connection]:
        try:
            yield self._connection
        except sqlite3.Error as error:
            raise OutboxError(f"cannot store deliveries: {error}") from error

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._guarded() as connection, transaction(connection):
            yield connection


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _names(text: str) -> frozenset[str]:
    return frozenset(json.loads(text))
