"""Contents of the outbox as the objects hold them that replicas share; pure.

There is a fixed number of objects, so that RBAC can name each. An event that is unsettled lies in
the one that its number says, whichever Subscription it is of; what was settled in a period lies in
one for that, which a later period takes over when nothing of it is news any more.
"""

import json
import zlib
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from upwell.delivery.interface import (
    DeliveryTally,
    Envelope,
    OutboxContents,
    UnsettledEvent,
    period_of,
)

EVENT_PARTS = 8
"""Objects of unsettled events."""
SETTLED_PARTS = 8
"""Objects of what was settled: four days of periods, which is longer than anything is news."""
MOST_BYTES = 1_000_000
"""Of one object: a Secret may have 1 MiB."""
_MOST_PLAIN_BYTES = 64_000_000
_TOGETHER = 64
"""Events with numbers side by side lie in one object: few are written anew when they change."""


class DamagedPartError(ValueError):
    """An object holds no part of an outbox; the message says why, and `part` is its name."""

    def __init__(self, part: str, why: str) -> None:
        super().__init__(why)
        self.part = part


@dataclass(frozen=True, slots=True)
class PackedParts:
    """Contents, packed: each value by the name of its part; a part that has nothing is empty."""

    events: Mapping[str, bytes]
    settled: Mapping[str, bytes]
    left_out: int = 0
    """Unsettled events for which there is no room."""


def part_names() -> tuple[str, ...]:
    """Return the names of all parts; those of unsettled events first."""
    waiting = (f"waiting-{number}" for number in range(EVENT_PARTS))
    return (*waiting, *(f"settled-{number}" for number in range(SETTLED_PARTS)))


def secret_name(lease: str, part: str) -> str:
    """Return the name of the Secret with a part, of the replicas that elect a leader by a Lease."""
    return f"{lease}-events-{part}"


def periods_at(seconds: float) -> tuple[int, int]:
    """Return the periods in which something may be settled at a time, and just was."""
    now = period_of(seconds)
    return now - 1, now


def packed(contents: OutboxContents) -> PackedParts:
    """Return contents as parts, with those for unsettled events that have none."""
    groups: dict[int, list[UnsettledEvent]] = defaultdict(list)
    for event in contents.events:
        groups[event.number // _TOGETHER % EVENT_PARTS].append(event)
    events, left_out = {}, 0
    for number in range(EVENT_PARTS):
        tallies = contents.tallies if number == 0 else ()
        value, missing = _packed_events(groups[number], tallies)
        events[f"waiting-{number}"] = value
        left_out += missing
    settled = {
        f"settled-{period % SETTLED_PARTS}": _packed_ids(period, ids)
        for period, ids in contents.settled.items()
    }
    return PackedParts(events, settled, left_out)


def unpacked(parts: Mapping[str, bytes], now: float) -> OutboxContents:
    """Return the contents of parts, by their names, without what was settled too long ago.

    Raises DamagedPartError. Ten thousand events take half a second.
    """
    events: list[UnsettledEvent] = []
    tallies: list[DeliveryTally] = []
    settled: dict[int, Collection[str]] = {}
    oldest = period_of(now) - SETTLED_PARTS
    for name, part in parts.items():
        try:
            document = _document(part)
            events += [_event(one) for one in document.get("events", ())]
            tallies += [DeliveryTally(**one) for one in document.get("tallies", ())]
            if "period" in document and int(document["period"]) > oldest:
                settled[int(document["period"])] = str(document["ids"]).split()
        except (TypeError, KeyError, ValueError, zlib.error) as error:
            raise DamagedPartError(name, f"it is no part of an outbox: {error!r}") from error
    events.sort(key=lambda one: one.number)
    return OutboxContents(events, tallies, settled)


def _packed_events(
    events: Sequence[UnsettledEvent], tallies: Sequence[DeliveryTally]
) -> tuple[bytes, int]:
    """Return the part, and how many of the latest events are left out of it."""
    if not events and not tallies:
        return b"", 0
    kept = list(events)
    while True:
        documents = [_document_of(one) for one in kept]
        value = _packed({"events": documents, "tallies": [asdict(one) for one in tallies]})
        if value or not kept:
            return value, len(events) - len(kept)
        del kept[len(kept) * 3 // 4 :]


def _packed_ids(period: int, ids: Collection[str]) -> bytes:
    kept = sorted(ids)
    while kept:
        if value := _packed({"period": period, "ids": " ".join(kept)}):
            return value
        del kept[len(kept) * 3 // 4 :]
    return b""


def _packed(document: Mapping[str, object]) -> bytes:
    """Return a part with a document; empty: it is too large for one."""
    plain = json.dumps(document, separators=(",", ":"), sort_keys=True).encode()
    value = zlib.compress(plain)
    fits = len(plain) <= _MOST_PLAIN_BYTES and len(value) <= MOST_BYTES
    return value if fits else b""


def _document(part: bytes) -> dict[str, Any]:
    """Return the document in a part; raises ValueError or zlib.error."""
    if not part:
        return {}
    opener = zlib.decompressobj()
    plain = opener.decompress(part, _MOST_PLAIN_BYTES)
    if opener.unconsumed_tail or not opener.eof:
        raise ValueError("it is cut off, or larger than a part may be")
    found = json.loads(plain)
    if not isinstance(found, dict):
        raise TypeError("it is no JSON object")
    return found


def _document_of(one: UnsettledEvent) -> dict[str, Any]:
    found = asdict(one)
    found["envelope"]["body"] = one.envelope.body.decode()
    return found


def _event(document: Mapping[str, Any]) -> UnsettledEvent:
    envelope = dict(document["envelope"])
    envelope["body"] = envelope["body"].encode()
    reached = tuple(document["reached"])
    return UnsettledEvent(**{**document, "envelope": Envelope(**envelope), "reached": reached})
