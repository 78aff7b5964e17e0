"""Contents of the outbox's SQLite file as another outbox takes them over, opened and sealed."""

import json
import logging
import sqlite3
from collections.abc import Collection, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from upwell.delivery.interface import (
    SETTLED_LETTERS,
    SETTLED_PERIOD,
    DeliveryTally,
    Envelope,
    OutboxContents,
    OutboxError,
    UnsettledEvent,
)
from upwell.delivery.sealed_events import SealedEvents
from upwell.encryption.sealing import SealError
from upwell.machine.databases import transaction

log = logging.getLogger(__name__)

_COLUMNS = (
    "number, subscription, id, type, subject, severity, message, body,"
    " state, due, attempts, reached, error, settled"
)
_UNSETTLED = f"""
SELECT {_COLUMNS} FROM event WHERE state IN ('waiting', 'gathered', 'dead') ORDER BY number
"""  # noqa: S608 - a constant list of columns
_INSERT = f"INSERT INTO event ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608
_SETTLED = f"""
SELECT DISTINCT substr(id, 1, {SETTLED_LETTERS}) FROM event
WHERE settled >= ? AND settled < ? AND state != 'dead'
UNION SELECT id FROM settled_elsewhere WHERE period = ?
"""  # noqa: S608 - a constant
_TALLIES = "SELECT subscription, delivered, last FROM tally ORDER BY subscription"
_CLEAR = ("DELETE FROM event", "DELETE FROM tally", "DELETE FROM settled_elsewhere")
_INSERT_TALLY = "INSERT INTO tally (subscription, delivered, last) VALUES (?, ?, ?)"
_INSERT_SETTLED = "INSERT OR IGNORE INTO settled_elsewhere (id, period) VALUES (?, ?)"


def read_contents(path: Path, sealed: SealedEvents, periods: Collection[int]) -> OutboxContents:
    """Return what the file has, but for events that are damaged; raises OutboxError.

    It has a connection of its own, so a thread may call it.
    """
    try:
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("BEGIN")  # all of one moment
            return _read(connection, sealed, periods)
    except sqlite3.Error as error:
        raise OutboxError(f"cannot read deliveries: {error}") from error


def write_contents(path: Path, sealed: SealedEvents, contents: OutboxContents) -> None:
    """Put this in the place of all that the file has; raises OutboxError.

    It has a connection of its own, so a thread may call it, while nothing else writes.
    """
    try:
        with (
            closing(sqlite3.connect(path, isolation_level=None)) as connection,
            transaction(connection),
        ):
            _write(connection, sealed, contents)
    except sqlite3.Error as error:
        raise OutboxError(f"cannot store deliveries: {error}") from error


def _read(
    connection: sqlite3.Connection, sealed: SealedEvents, periods: Collection[int]
) -> OutboxContents:
    events = tuple(_opened(connection.execute(_UNSETTLED).fetchall(), sealed))
    tallies = tuple(DeliveryTally(*row) for row in connection.execute(_TALLIES))
    settled = {
        period: frozenset(row[0] for row in connection.execute(_SETTLED, _bounds(period)))
        for period in periods
    }
    return OutboxContents(events, tallies, settled)


def _write(connection: sqlite3.Connection, sealed: SealedEvents, contents: OutboxContents) -> None:
    for statement in _CLEAR:
        connection.execute(statement)
    connection.executemany(_INSERT, (_row(one, sealed) for one in contents.events))
    tallies = ((one.subscription, one.delivered, one.last) for one in contents.tallies)
    connection.executemany(_INSERT_TALLY, tallies)
    settled = ((one, period) for period, ids in contents.settled.items() for one in ids)
    connection.executemany(_INSERT_SETTLED, settled)


def _bounds(period: int) -> tuple[int, int, int]:
    return period * SETTLED_PERIOD, (period + 1) * SETTLED_PERIOD, period


def _opened(rows: Collection[tuple[Any, ...]], sealed: SealedEvents) -> Iterator[UnsettledEvent]:
    for number, owner, *parts, state, due, attempts, reached, error, settled in rows:
        kept = Envelope(*parts)
        try:
            envelope = sealed.envelope(owner, kept)
            text = sealed.text((owner, kept.id), "error", error)
        except SealError as fault:
            log.warning("an event is damaged", extra={"event": kept.id, "why": str(fault)})
            continue
        names = tuple(json.loads(reached))
        yield UnsettledEvent(number, owner, envelope, state, due, attempts, names, text, settled)


def _row(one: UnsettledEvent, sealed: SealedEvents) -> tuple[object, ...]:
    event, envelope = (one.subscription, one.envelope.id), one.envelope
    return (
        one.number,
        one.subscription,
        envelope.id,
        envelope.type,
        envelope.subject,
        envelope.severity,
        sealed.kept(event, "message", envelope.message),
        sealed.kept(event, "body", envelope.body),
        one.state,
        one.due,
        one.attempts,
        json.dumps(one.reached),
        sealed.kept(event, "error", one.error),
        one.settled,
    )
