"""list, watch and get of every kind, stored or made from what is read elsewhere."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime
from itertools import batched

from starlette.requests import Request
from starlette.responses import Response

from upwell.api.meta import Resource
from upwell.server.http.errors import ApiError
from upwell.server.http.pages import page_of
from upwell.server.http.query import is_true
from upwell.server.http.rendering import json_response, list_response, rendering_for
from upwell.server.http.selectors import parse_filter
from upwell.server.http.target import RequestTarget
from upwell.server.http.visibility import view_of
from upwell.server.objects.watches import Watches
from upwell.store.interface import ExpiredError, Reader, Selector

_EXACT, _NOT_OLDER = "Exact", "NotOlderThan"
_TURN = 32
"""Objects that are tested before others have their turn."""


class ReadHandlers:
    """Answers requests that change nothing."""

    def __init__(self, reader: Reader, watches: Watches, clock: Callable[[], datetime]) -> None:
        self._reader = reader
        self._watches = watches
        self._clock = clock

    async def list(self, request: Request, target: RequestTarget) -> Response:
        """Answer a list, or a watch where that is asked for."""
        if is_true(request, "watch"):
            return self._watches.respond(request, target)
        exact = _exact_version(request)
        found, version = await self.select(request, target)
        if exact not in {"", version}:
            raise ExpiredError(exact)
        page, metadata = page_of(request, found, version)
        return list_response(request, self._clock(), target.kind, page, metadata)

    async def get(self, request: Request, target: RequestTarget) -> Response:
        """Answer one object."""
        rendering = rendering_for(request, self._clock())
        resource = await self._reader.get(target.resource, target.namespace, target.name)
        return json_response(rendering.one(resource))

    async def select(
        self, request: Request, target: RequestTarget
    ) -> tuple[Sequence[Resource], str]:
        """Return the objects that the request's selectors match, and the list's version."""
        query = request.query_params
        wanted = parse_filter(query.get("labelSelector", ""), query.get("fieldSelector", ""))
        selector = Selector(target.namespace, wanted.exact, wanted.named("metadata.name"))
        listing = await self._reader.list(target.resource, selector)
        if not wanted.labels and not wanted.fields:
            return listing.items, listing.resource_version
        found: list[Resource] = []
        shown = view_of(request).of
        for items in batched(listing.items, _TURN):
            found += [item for item in items if wanted.matches(item, shown)]
            await asyncio.sleep(0)
        return found, listing.resource_version


def _exact_version(request: Request) -> str:
    """Return the version that a list must be of; empty: any, which is never an older one.

    Only the newest is there. Raises ApiError as Kubernetes does (meta/v1 ListOptions).
    """
    query = request.query_params
    match, version = query.get("resourceVersionMatch", ""), query.get("resourceVersion", "")
    if not match:
        return ""
    if match not in {_EXACT, _NOT_OLDER}:
        raise ApiError(
            422, f"resourceVersionMatch: expected {_EXACT} or {_NOT_OLDER}, found {match[:40]!r}"
        )
    if not version or query.get("continue"):
        raise ApiError(422, "resourceVersionMatch: forbidden without resourceVersion, or on a page")
    if match == _EXACT and version == "0":
        raise ApiError(422, f"resourceVersionMatch: {_EXACT} is forbidden for resourceVersion 0")
    return version if match == _EXACT else ""
