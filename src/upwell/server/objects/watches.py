"""Watches: a stream of JSON lines, one event each, that can be resumed from any version.

Each is a watch of the store, not a handler of the reconcilers' cache: it begins at the version, and
has the selector, that its client asks for.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime
from itertools import batched as batched_items

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from upwell.api.meta import Resource
from upwell.policy.access.visibility import SecretView
from upwell.server.http.encoding import Piece, in_chunks
from upwell.server.http.errors import status_of, to_api_error
from upwell.server.http.limits import ServerLimits
from upwell.server.http.query import integer, is_true
from upwell.server.http.rendering import Rendering, rendering_for
from upwell.server.http.selectors import Filter, parse_filter
from upwell.server.http.streaming import OpenStreams, batched
from upwell.server.http.target import RequestTarget
from upwell.store.interface import Change, Reader, Selector, StoreError, WatchEvent, WatchProgress

_TURN = 100
"""Objects of a list that are looked at before others have their turn."""
_INITIAL_EVENTS_END = {"k8s.io/initial-events-end": "true"}


@dataclass
class _Matching:
    """Objects that the client knows, so that one that stops matching is DELETED for it.

    A client that resumes may know every object whose labels matched before its first change.
    Fields are not kept so long: one that does not match any more counts as deleted, which a client
    that never knew it passes over.
    """

    filter: Filter
    view: SecretView
    resumed: bool
    _known: dict[tuple[str, str], bool] = field(default_factory=dict)

    def observe(self, event: WatchEvent[Resource]) -> Change | None:
        """Return what the event is for this client; None when it is nothing."""
        if self.filter.is_trivial:
            return event.change  # as the store tells it: nothing need be remembered
        resource = event.resource
        place = (resource.namespace, resource.name)
        known = self._known.get(place, self._may_be_known(event))
        matches = self.filter.matches(resource, self.view.of)
        if event.change is Change.DELETED:
            self._known.pop(place, None)
            return Change.DELETED if known or matches else None
        self._known[place] = matches
        if matches:
            return Change.MODIFIED if known else Change.ADDED
        return Change.DELETED if known else None

    def _may_be_known(self, event: WatchEvent[Resource]) -> bool:
        if not self.resumed or event.change is Change.ADDED:
            return False
        return event.previous_labels is None or self.filter.selects(event.previous_labels)


@dataclass(frozen=True, slots=True)
class _WatchRequest:
    """Request of one client to watch objects."""

    target: RequestTarget
    selector: Selector
    filter: Filter
    rendering: Rendering
    since: str
    bookmarks: bool
    initial_bookmark: bool
    seconds: float


class Watches:
    """Serves watches of every kind."""

    def __init__(
        self,
        store: Reader,
        streams: OpenStreams,
        limits: ServerLimits,
        clock: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._streams = streams
        self._limits = limits
        self._clock = clock

    def respond(self, request: Request, target: RequestTarget) -> Response:
        """Answer a watch request; raises ApiError."""
        query = request.query_params
        wanted = parse_filter(query.get("labelSelector", ""), query.get("fieldSelector", ""))
        seconds = integer(request, "timeoutSeconds") or self._limits.watch_seconds
        version = query.get("resourceVersion", "")
        bookmarks = is_true(request, "allowWatchBookmarks")
        watch = _WatchRequest(
            target=target,
            selector=Selector(target.namespace, name=wanted.named("metadata.name")),
            filter=wanted,
            rendering=rendering_for(request, self._clock()),
            since="" if version == "0" or is_true(request, "sendInitialEvents") else version,
            bookmarks=bookmarks,
            initial_bookmark=bookmarks and is_true(request, "sendInitialEvents"),
            seconds=min(float(seconds), self._limits.watch_seconds),
        )
        self._streams.require_room()
        return StreamingResponse(self._lines(watch), media_type="application/json")

    async def _lines(self, request: _WatchRequest) -> AsyncIterator[bytes | memoryview]:
        with self._streams.counted():
            try:
                async for pieces in self._events(request):
                    for number, chunk in enumerate(in_chunks(pieces)):
                        if number:
                            await asyncio.sleep(0)
                        yield chunk
            except StoreError as error:
                fault = json.dumps(status_of(to_api_error(error))).encode()
                yield b"".join(_line("ERROR", fault))

    async def _events(self, request: _WatchRequest) -> AsyncGenerator[Iterable[Piece]]:
        """Yield the pieces of one or more lines at a time."""
        kind, rendering = request.target.kind, request.rendering
        matching = _Matching(request.filter, rendering.view, resumed=bool(request.since))
        version = request.since
        if not version:
            listing = await self._store.list(request.target.resource, request.selector)
            version = listing.resource_version
            for items in batched_items(listing.items, _TURN):
                yield _pieces(matching, rendering, [WatchEvent(Change.ADDED, one) for one in items])
                await asyncio.sleep(0)
            if request.initial_bookmark:
                yield _line("BOOKMARK", rendering.bookmark(kind, version, _INITIAL_EVENTS_END))
        progress = WatchProgress()
        source = self._store.watch(
            request.target.resource, request.selector, since=version, progress=progress
        )
        events = batched(
            source,
            self._streams.shutdown,
            tick=self._limits.bookmark_seconds if request.bookmarks else None,
            seconds=request.seconds,
        )
        async with aclosing(events) as batches:
            async for batch in batches:
                if not batch:
                    # All that was read ahead has been taken, so the client has it too.
                    version = progress.version or version
                    yield _line("BOOKMARK", rendering.bookmark(kind, version, {}))
                    continue
                version = batch[-1].resource.resource_version
                yield _pieces(matching, rendering, batch)


def _pieces(
    matching: _Matching, rendering: Rendering, events: Iterable[WatchEvent[Resource]]
) -> Iterator[Piece]:
    for event in events:
        if change := matching.observe(event):
            yield from _line(change, rendering.one(event.resource))


def _line(change: str, document: Piece) -> Iterable[Piece]:
    """Return the pieces of one line; the object is not copied."""
    return f'{{"type":"{change}","object":'.encode(), document, b"}\n"
