"""Views to read and to watch: objects that are made from what is, and never stored.

Each list looks anew, and what differs from the last answer becomes an event of the history that
watches follow. Versions begin with the time of the start, in microseconds, so that those of an
earlier process have expired, and clients list again.
"""

import asyncio
import logging
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Mapping,
    Sequence,
)
from datetime import datetime
from typing import cast

from upwell.api.meta import Kind, ObjectKey, Resource
from upwell.store.history import ChangeRecord, History
from upwell.store.interface import (
    EVERYTHING,
    Change,
    ExpiredError,
    Listing,
    NotFoundError,
    Selector,
    StoreError,
    WatchEvent,
    WatchProgress,
)
from upwell.store.semantics import is_version, matches
from upwell.workload.errors import WorkloadError

_LOG = logging.getLogger(__name__)

_HISTORY_LIMIT = 2048
"""Changes that a watch may be behind before it has to list again."""
_RECONNECT_SECONDS = 1.0

type _Views = Mapping[tuple[str, str], Resource]
"""By namespace and name."""
type Observe = Callable[[], Awaitable[Iterable[Resource]]]
"""Makes all views of a kind, each without a version; raises StoreError."""
type Source = Callable[[], AsyncIterator[object]]
"""Yields something whenever the views may have changed."""


class ViewFeed:
    """Implements Reader for one kind alone; `started` is the time of the process's start."""

    def __init__(
        self,
        kind: type[Resource],
        observe: Observe,
        sources: Sequence[Source],
        started: datetime,
    ) -> None:
        self._kind = kind
        self._observe = observe
        self._sources = sources
        self._views: _Views = {}
        newest = int(started.timestamp() * 1_000_000)
        self._history = History(newest=newest, limit=_HISTORY_LIMIT)
        self._refreshing = asyncio.Lock()
        self._changed = asyncio.Event()
        self._begun = 0
        self._watches = 0

    @property
    def kind(self) -> Kind:
        """The kind of the views."""
        return self._kind.KIND

    async def run(self) -> None:
        """Tell watches what changes, for ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._look_after_changes())
            for source in self._sources:
                group.create_task(self._follow(source))

    async def _follow(self, source: Source) -> None:
        while True:
            try:
                async for _ in source():
                    self._changed.set()
            except (WorkloadError, StoreError) as error:
                self._warn(error)
            await asyncio.sleep(_RECONNECT_SECONDS)
            self._changed.set()  # nobody heard of what changed meanwhile

    async def _look_after_changes(self) -> None:
        """Look anew after changes: one look for all that came before it began."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            began = asyncio.get_running_loop().time()
            if self._watches:
                try:
                    await self._refresh()
                except (WorkloadError, StoreError) as error:
                    self._warn(error)
                    self._changed.set()  # what changed is still to be told
                    await asyncio.sleep(_RECONNECT_SECONDS)
            # Where a look takes long, changes without end leave half of the time to others.
            await asyncio.sleep(asyncio.get_running_loop().time() - began)

    def _warn(self, error: Exception) -> None:
        extra = {"kind": self._kind.KIND.kind, "why": str(error)}
        _LOG.warning("views cannot be read", extra=extra)

    async def get[R: Resource](self, kind: type[R], namespace: str, name: str) -> R:
        """Return one view; raises NotFoundError."""
        await self._refresh()
        found = self._views.get((namespace, name))
        if not isinstance(found, kind):
            raise NotFoundError(ObjectKey(self._kind.KIND.kind, namespace, name))
        return found

    async def list[R: Resource](self, kind: type[R], selector: Selector = EVERYTHING) -> Listing[R]:
        """Return the views that match."""
        del kind
        await self._refresh()
        found = [one for _, one in sorted(self._views.items()) if matches(selector, one)]
        return cast("Listing[R]", Listing(found, str(self._history.newest)))

    async def watch[R: Resource](
        self,
        kind: type[R],
        selector: Selector = EVERYTHING,
        *,
        since: str = "",
        progress: WatchProgress | None = None,
    ) -> AsyncGenerator[WatchEvent[R]]:
        """Yield changes after `since` in order, for ever; raises ExpiredError."""
        if since and not is_version(since):
            raise ExpiredError(since)
        self._watches += 1
        try:
            listing = await self.list(kind, selector)
            for one in () if since else listing.items:
                yield WatchEvent(Change.ADDED, one)
            position = int(since or listing.resource_version)
            async for record in self._history.follow(position, progress=progress):
                if event := record.seen_by(kind, selector):
                    yield event
        finally:
            self._watches -= 1

    async def _refresh(self) -> None:
        """Look anew, unless somebody has begun to after this was called."""
        asked = self._begun
        async with self._refreshing:
            if self._begun == asked:
                self._begun += 1
                self._publish({(one.namespace, one.name): one for one in await self._observe()})

    def _publish(self, found: _Views) -> None:
        """Give a version to what is new or differs, and tell the watches."""
        records: list[ChangeRecord] = []

        def note(change: Change, view: Resource, old: Resource | None) -> Resource:
            version = self._history.newest + len(records) + 1
            versioned = view.with_metadata(resource_version=str(version))
            records.append(
                ChangeRecord(version, change, versioned, old.labels if old else None, body="")
            )
            return versioned

        gone = [old for place, old in self._views.items() if _incarnation(found, place) != old.uid]
        for old in gone:
            note(Change.DELETED, old, old)
        views = {}
        for place, one in found.items():
            if _incarnation(self._views, place) != one.uid:
                views[place] = note(Change.ADDED, one, None)
            elif self._views[place].with_metadata(resource_version=None) != one:
                views[place] = note(Change.MODIFIED, one, self._views[place])
            else:
                views[place] = self._views[place]
        self._views = views
        if records:
            self._history.publish(records)


def _incarnation(views: _Views, place: tuple[str, str]) -> str:
    return views[place].uid if place in views else ""
