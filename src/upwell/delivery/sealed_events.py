"""Contents of the outbox besides the names of events, sealed for Subscription and id.

A sealed text is a BLOB in a column of texts, and a sealed body begins as no JSON does.
"""

import sqlite3

from upwell.delivery.interface import Envelope
from upwell.encryption.sealing import Sealer, SealError, is_sealed, place

_SEALED = ("message", "body", "error")
_NEXT = """
SELECT number, subscription, id, message, body, error FROM event
WHERE number > ? ORDER BY number LIMIT ?
"""
_SET = "UPDATE event SET message = ?, body = ?, error = ? WHERE number = ?"
_COUNT = "SELECT count(*) FROM event"
_BATCH = 64
"""Sealed at once: the event loop waits for it."""


class SealedEvents:
    """Seals columns of the outbox, or leaves them plain; what is empty is kept so."""

    def __init__(self, sealer: Sealer) -> None:
        self._sealer = sealer

    def kept(self, event: tuple[str, str], column: str, content: str | bytes) -> str | bytes:
        """Return what to keep of a column of an event, which is its Subscription and its id."""
        if self._sealer.current is None or not content:
            return content
        raw = content.encode() if isinstance(content, str) else content
        return self._sealer.seal(place("delivery", *event, column), raw)

    def text(self, event: tuple[str, str], column: str, kept: str | bytes) -> str:
        """Return the text of a column; raises SealError."""
        found = self._opened(event, column, kept)
        return found.decode() if isinstance(found, bytes) else found

    def envelope(self, subscription: str, kept: Envelope) -> Envelope:
        """Return an event from its row; raises SealError, for one that was put there plain too."""
        event = (subscription, kept.id)
        for content in (kept.message, kept.body):
            if content and self._sealer.current is not None and not _is_sealed(content):
                raise SealError("it is plain, and all else is sealed")
        body = self._opened(event, "body", kept.body)
        return Envelope(
            kept.id,
            kept.type,
            kept.subject,
            kept.severity,
            self.text(event, "message", kept.message),
            body.encode() if isinstance(body, str) else body,
        )

    def _opened(self, event: tuple[str, str], column: str, kept: str | bytes) -> str | bytes:
        if isinstance(kept, str) or not is_sealed(kept):
            return kept
        return self._sealer.open_at(place("delivery", *event, column), kept)

    def anew(self, event: tuple[str, str], column: str, kept: str | bytes) -> str | bytes:
        """Return a column as it shall be kept; a damaged one as it is."""
        if isinstance(kept, bytes) and self._sealer.is_current(kept):
            return kept
        try:
            opened = self._opened(event, column, kept)
        except SealError:
            return kept
        if column != "body" and isinstance(opened, bytes):
            opened = opened.decode()
        return self.kept(event, column, opened)


class EventResealer:
    """One way through all events. Implements Resealer."""

    def __init__(self, sealer: Sealer) -> None:
        self._events = SealedEvents(sealer)
        self._number = -1
        self.is_done = False
        self.seen = 0
        self.total = 0

    def step(self, connection: sqlite3.Connection) -> None:
        """Seal the next events, within the caller's transaction."""
        if not self.seen:
            self.total = connection.execute(_COUNT).fetchone()[0]
        rows = connection.execute(_NEXT, (self._number, _BATCH)).fetchall()
        for number, subscription, identifier, *kept in rows:
            self._number = number
            event = (subscription, identifier)
            columns = zip(_SEALED, kept, strict=True)
            found = [self._events.anew(event, column, one) for column, one in columns]
            if found != kept:
                connection.execute(_SET, (*found, number))
        self.seen += len(rows)
        self.is_done = not rows


def _is_sealed(kept: str | bytes) -> bool:
    return isinstance(kept, bytes) and is_sealed(kept)
