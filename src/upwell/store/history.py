"""The last changes in order, shared by all watches.

A watch is a position in this history, not a queue of its own: a slow one costs nothing, and one
that falls behind the oldest change that is kept learns so by ExpiredError. One that has seen all
sleeps until a change of its own kind.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Iterable, Mapping
from dataclasses import dataclass, field

from upwell.api.meta import Resource
from upwell.store import semantics
from upwell.store.interface import Change, ExpiredError, Selector, WatchEvent, WatchProgress

HISTORY_SIZE = 48 * 2**20
"""Bytes of memory, about: most objects of a full history are far smaller than the largest."""
_FIELD_BYTES = 200
"""Of a field, beside its text: what Python takes for the text and for its place in the object."""


@dataclass(frozen=True, slots=True)
class ChangeRecord:
    """One change as it is kept: `version` is the store's number of it, `body` the object's JSON.

    The resource carries that version too, also when the change is its deletion.
    """

    version: int
    change: Change
    resource: Resource
    previous_labels: Mapping[str, str] | None
    """Labels before the change, None if there was no object: decides what a selector sees."""
    body: str = field(repr=False)

    def seen_by[R: Resource](self, kind: type[R], selector: Selector) -> WatchEvent[R] | None:
        """Return the change as a watch with this selector sees it: labels may come and go."""
        resource = self.resource
        if not isinstance(resource, kind) or not semantics.is_named(selector, resource):
            return None
        was_in = semantics.has_labels(selector, self.previous_labels) and (
            self.change is not Change.ADDED
        )
        is_in = semantics.has_labels(selector, resource.labels) and (
            self.change is not Change.DELETED
        )
        if not was_in and not is_in:
            return None
        seen = Change.DELETED if not is_in else Change.MODIFIED if was_in else Change.ADDED
        return WatchEvent(seen, resource, self.previous_labels)


class History:
    """Records with consecutive versions: the newest `limit` of them, and no more than `size`.

    `size` is in bytes of memory, as their bodies and objects take it, so that neither large objects
    nor those of many fields can fill the memory by being changed often. The newest record is kept
    whatever its size.
    """

    def __init__(
        self,
        records: Iterable[ChangeRecord] = (),
        *,
        newest: int = 0,
        limit: int,
        size: int = HISTORY_SIZE,
    ) -> None:
        self._records: deque[ChangeRecord] = deque()
        self._limit = limit
        self._size_limit = size
        self._size = 0
        self._newest = newest
        self._awaited: dict[type[Resource], _News] = {}
        """Changes that watches wait for which have seen all, by the class of their objects."""
        for record in records:
            self._append(record)

    @property
    def newest(self) -> int:
        """The version of the last change."""
        return self._newest

    @property
    def forgotten(self) -> int:
        """The version of the last change that is no longer kept."""
        return self._newest - len(self._records)

    def publish(self, records: Iterable[ChangeRecord]) -> None:
        """Append changes and wake the watches of their kinds."""
        for record in records:
            self._append(record)
            for kind in type(record.resource).__mro__:
                if (news := self._awaited.pop(kind, None)) is not None:
                    news.first = record.version
                    news.came.set()

    def _append(self, record: ChangeRecord) -> None:
        self._records.append(record)
        self._newest = record.version
        self._size += _memory(record)
        while len(self._records) > 1 and (
            len(self._records) > self._limit or self._size > self._size_limit
        ):
            self._size -= _memory(self._records.popleft())

    async def follow(
        self,
        since: int,
        kind: type[Resource] = Resource,
        *,
        progress: WatchProgress | None = None,
    ) -> AsyncGenerator[ChangeRecord]:
        """Yield the changes after `since`, for ever; raises ExpiredError.

        Changes of objects that are no `kind` may be left out: nobody is woken by them. `progress`
        is told how far it is.
        """
        position = since
        news: _News | None = None

        def reached() -> str:
            if news is None:
                return str(position)
            return str(news.first - 1 if news.came.is_set() else self._newest)

        if progress is not None:
            progress.begin(reached)
        while True:
            batch = self._after(position)
            for record in batch:
                yield record
                position = record.version
            if len(batch) == _BATCH:
                await asyncio.sleep(0)  # one that has much to catch up with lets others go on
            elif position == self._newest:
                news = self._awaited.setdefault(kind, _News())
                await news.came.wait()
                position = news.first - 1  # what came before it was nothing of this kind
                news = None

    def _after(self, version: int) -> list[ChangeRecord]:
        missing = self._newest - version
        # A version of the future is from another life of the data: its changes are unknown here.
        if missing < 0 or missing > len(self._records):
            raise ExpiredError(str(version))
        if missing > _BATCH:
            start = len(self._records) - missing
            return [self._records[at] for at in range(start, start + _BATCH)]
        return [self._records[-at] for at in range(missing, 0, -1)]


class _News:
    """The next change of a kind: one for all that wait for it."""

    __slots__ = ("came", "first")

    def __init__(self) -> None:
        self.came = asyncio.Event()
        self.first = 0
        """Version of it, once it came."""


def _memory(record: ChangeRecord) -> int:
    """Return the bytes that a record takes: its body, its texts again, and its fields."""
    return 2 * len(record.body) + _FIELD_BYTES * record.body.count('"') // 2


_BATCH = 64
"""Records copied at a time: bounds what a slow watch holds on to."""
