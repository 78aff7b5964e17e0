"""The outbox in one SQLite file.

`synchronous=NORMAL` in WAL mode: `kill -9` loses nothing. A power cut may take the last moments:
then what was added is derived anew from the objects, and what was delivered is delivered again.
Every statement takes microseconds, so none leaves the event loop.
"""

import contextlib
import json
import sqlite3
from collections.abc import Collection, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from upwell.delivery.interface import (
    DeadLetter,
    Delivery,
    DeliveryStats,
    Envelope,
    Fate,
    OutboxError,
)
from upwell.machine.databases import DamagedDatabaseError, open_database

MOST_PENDING = 10_000
"""Events that wait for one Subscription at once; of more, the oldest are given up."""
MOST_DEAD = 1000
"""Dead letters of one Subscription; of more, the oldest lose their content."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS event (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    subscription TEXT NOT NULL,
    id TEXT NOT NULL,
    type TEXT NOT NULL,
    subject TEXT NOT NULL,
    severity TEXT NOT NULL,
    message TEXT NOT NULL,
    body BLOB NOT NULL,
    state TEXT NOT NULL,
    due REAL NOT NULL DEFAULT 0,
    attempts INTEGER NOT NULL DEFAULT 0,
    reached TEXT NOT NULL DEFAULT '[]',
    error TEXT NOT NULL DEFAULT '',
    settled REAL,
    UNIQUE (subscription, id)
);
CREATE INDEX IF NOT EXISTS waiting ON event (subscription, subject, number)
WHERE state = 'waiting';
CREATE INDEX IF NOT EXISTS by_state ON event (subscription, state, number);
CREATE TABLE IF NOT EXISTS tally (
    subscription TEXT PRIMARY KEY, delivered INTEGER NOT NULL, last REAL NOT NULL
) WITHOUT ROWID;
"""
_ENVELOPE = "id, type, subject, severity, message, body"
_ADD = f"""
INSERT INTO event (subscription, {_ENVELOPE}, state, settled) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (subscription, id) DO NOTHING
"""  # noqa: S608 - a constant list of columns
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
SELECT error FROM event WHERE subscription = ? AND state = 'waiting' AND attempts > 0
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
SELECT {_ENVELOPE} FROM event WHERE subscription = ? AND state = 'gathered' ORDER BY number
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


class SqliteOutbox:
    """Implements Outbox in the file `path`. Deleting the file repeats the events of three days.

    Raises OutboxError when the file cannot be used.
    """

    def __init__(
        self, path: Path, *, most_pending: int = MOST_PENDING, most_dead: int = MOST_DEAD
    ) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._most_pending = most_pending
        self._most_dead = most_dead
        try:
            self._connection = open_database(path, _set_up)
        except DamagedDatabaseError as error:
            why = (
                f"{error}: restore it with its -wal file from a copy, or remove them:"
                " dead letters are lost then, and the events of the last three days are sent again"
            )
            raise OutboxError(why) from error
        except sqlite3.Error as error:
            raise OutboxError(f"{path} cannot be opened: {error}") from error

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
        return [
            Delivery(number, owner, Envelope(*parts), _time(due), attempts, _names(reached))
            for number, owner, *parts, due, attempts, reached in rows
        ]

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
        with self._guarded() as connection:
            connection.execute(_POSTPONE, (until.timestamp(), error, names, delivery.number))

    def dead_letter(self, delivery: Delivery, now: datetime, error: str) -> None:
        """Give a delivery up: later events of its subject go on."""
        with self._transaction() as connection:
            connection.execute(_MARK_DEAD, (now.timestamp(), error, delivery.number))
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
            trouble = connection.execute(_TROUBLE, (subscription,)).fetchone() or ("",)
        return DeliveryStats(
            delivered=delivered,
            pending=states.get("waiting", 0),
            gathered=states.get("gathered", 0),
            dead=states.get("dead", 0),
            last_delivery=None if last is None else _time(last),
            trouble=trouble[0],
        )

    def dead_letters(self, subscription: str) -> Sequence[DeadLetter]:
        """Return what was given up, in the order in which it came."""
        with self._guarded() as connection:
            rows = connection.execute(_DEAD, (subscription,)).fetchall()
        return [
            DeadLetter(Envelope(*parts), _time(died), attempts, error)
            for *parts, died, attempts, error in rows
        ]

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
            return [Envelope(*row) for row in connection.execute(_GATHERED, (subscription,))]

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

    def _insert(
        self,
        connection: sqlite3.Connection,
        subscription: str,
        envelope: Envelope,
        fate: Fate,
        now: datetime,
    ) -> bool:
        """Return whether the event was new and is to be sent."""
        skipped = fate is Fate.SKIP
        row = (
            subscription,
            envelope.id,
            envelope.type,
            envelope.subject,
            envelope.severity,
            "" if skipped else envelope.message,
            b"" if skipped else envelope.body,
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
        with self._guarded() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _names(text: str) -> frozenset[str]:
    return frozenset(json.loads(text))


def _set_up(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.executescript(_SCHEMA)
