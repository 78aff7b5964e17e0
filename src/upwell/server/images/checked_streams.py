"""ImageStreams with the times of their checks: those without news are written nowhere."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from itertools import batched
from typing import cast

from upwell.api.image import ImageStream
from upwell.api.meta import Resource
from upwell.store.interface import EVERYTHING, Listing, Reader, Selector, WatchEvent, WatchProgress

_TURN = 16
"""Streams whose times are told before others have their turn."""


class CheckedStreams:
    """Implements Reader; a watch tells of what is written alone."""

    def __init__(self, reader: Reader, as_checked: Callable[[ImageStream], ImageStream]) -> None:
        self._reader = reader
        self._as_checked = as_checked

    async def get[R: Resource](self, kind: type[R], namespace: str, name: str) -> R:
        """Return one object; raises NotFoundError."""
        return self._checked(await self._reader.get(kind, namespace, name))

    async def list[R: Resource](self, kind: type[R], selector: Selector = EVERYTHING) -> Listing[R]:
        """Return the objects that match."""
        listing = await self._reader.list(kind, selector)
        if kind is not ImageStream:
            return listing
        items: list[R] = []
        for some in batched(listing.items, _TURN):
            items += map(self._checked, some)
            await asyncio.sleep(0)
        return replace(listing, items=items)

    def watch[R: Resource](
        self,
        kind: type[R],
        selector: Selector = EVERYTHING,
        *,
        since: str = "",
        progress: WatchProgress | None = None,
    ) -> AsyncGenerator[WatchEvent[R]]:
        """Yield changes in order, for ever; raises ExpiredError."""
        return self._reader.watch(kind, selector, since=since, progress=progress)

    def _checked[R: Resource](self, found: R) -> R:
        if not isinstance(found, ImageStream):
            return found
        return cast("R", self._as_checked(found))
