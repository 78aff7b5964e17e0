"""Keeps up with the objects of one kind in a store, across gaps and failures."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from upwell.api.meta import Resource
from upwell.store.interface import ExpiredError, Listing, Store, StoreError, WatchEvent

log = logging.getLogger(__name__)

_WATCH_PAUSE = 1.0
"""Seconds before a watch that broke is opened again."""


async def list_and_watch[R: Resource](
    store: Store,
    kind: type[R],
    listed: Callable[[Listing[R]], Awaitable[None]],
    changed: Callable[[WatchEvent[R]], None],
) -> None:
    """Tell `listed` every object, then `changed` each change, for ever.

    After a gap `listed` gets all objects anew. A StoreError is logged, and what was not passed on
    before it is passed on when the store answers again.
    """
    since = ""
    while True:
        try:
            # Listed here, not by the watch: its first events come in the order of names, and
            # none of them would be a position to go on from if it broke among them.
            if not since:
                listing = await store.list(kind)
                await listed(listing)
                since = listing.resource_version
            async for event in store.watch(kind, since=since):
                changed(event)
                since = event.resource.resource_version
        except ExpiredError:
            since = ""  # lists anew: every object comes again, none is missed
        except StoreError as error:
            log.warning("watch failed", extra={"kind": kind.KIND.kind, "error": error})
            await asyncio.sleep(_WATCH_PAUSE)
