"""Rows of the store that are kept otherwise than they shall be, sealed anew, batch by batch."""

import json
import sqlite3
from typing import Any

from upwell.encryption.sealing import Sealer
from upwell.store.encryption.envelope import EnvelopeCipher, EnvelopeError, SealedIdentity

_NEXT_OBJECTS = (
    "SELECT kind, namespace, name, body FROM objects WHERE (kind, namespace, name) > (?, ?, ?)"
    " ORDER BY kind, namespace, name LIMIT ?"
)
_NEXT_CHANGES = "SELECT version, kind, body FROM changes WHERE version > ? ORDER BY version LIMIT ?"
_SET_OBJECT = "UPDATE objects SET body = ? WHERE kind = ? AND namespace = ? AND name = ?"
_SET_CHANGE = "UPDATE changes SET body = ? WHERE version = ?"
_COUNT = "SELECT (SELECT count(*) FROM objects) + (SELECT count(*) FROM changes)"
_BATCH = 256


class StoreResealer:
    """One way through all rows. Implements Resealer."""

    def __init__(self, sealer: Sealer) -> None:
        self._cipher = EnvelopeCipher(sealer)
        self._object = ("", "", "")
        self._version = -1
        self.is_done = False
        self.seen = 0
        self.total = 0

    def step(self, connection: sqlite3.Connection) -> None:
        """Seal the next rows, within the caller's transaction; raises EnvelopeError."""
        if not self.seen:
            self.total = connection.execute(_COUNT).fetchone()[0]
        rows = connection.execute(_NEXT_OBJECTS, (*self._object, _BATCH)).fetchall()
        for kind, namespace, name, body in rows:
            self._object = (kind, namespace, name)
            if not self._cipher.is_current(body):
                sealed = self._sealed(kind, body)
                connection.execute(_SET_OBJECT, (sealed, kind, namespace, name))
        changes = [] if rows else connection.execute(_NEXT_CHANGES, (self._version, _BATCH))
        count = len(rows)
        for version, kind, body in list(changes):
            count += 1
            self._version = version
            if not self._cipher.is_current(body):
                connection.execute(_SET_CHANGE, (self._sealed(kind, body), version))
        self.seen += count
        self.is_done = not count

    def _sealed(self, kind: str, body: str | bytes) -> str | bytes:
        identity, text = self._cipher.open(body)
        return self._cipher.seal(identity or identity_in(kind, text), text)


def identity_in(kind: str, text: str) -> SealedIdentity:
    """Return the identity of an object by its JSON; raises EnvelopeError."""
    try:
        metadata: dict[str, Any] = json.loads(text)["metadata"]
    except (ValueError, KeyError, TypeError) as error:
        raise EnvelopeError("it is damaged") from error
    namespace, name = metadata.get("namespace") or "", metadata.get("name") or ""
    return SealedIdentity(
        kind, namespace, name, metadata.get("uid") or "", metadata.get("resourceVersion") or ""
    )
