"""Keeps up with the objects of one kind in a store, across gaps and failures."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from upwell.api.meta import Resource
from upwell.machine.backoff import Backoff, asked_delay
from upwell.store.interface import ExpiredError, Listing, Store, StoreError, WatchEvent

log = logging.getLogger(__name__)

_PAUSES = Backoff(first=1.0, longest=15.0)
"""Before a list or watch that failed is asked for again; longer if the store asks for that."""


def _ignored(_: StoreError | None) -> None:
    """Do nothing."""


async def list_and_watch[R: Resource](
    store: Store,
    kind: type[R],
    listed: Callable[[Listing[R]], Awaitable[None]],
    changed: Callable[[WatchEvent[R]], None],
    failed: Callable[[StoreError | None], None] = _ignored,
) -> None:
    """Tell `listed` every object, then `changed` each change, for ever.

    After a gap `listed` gets all objects anew. A StoreError is logged once, and what was not passed
    on before it is passed on when the store answers again. `failed` is told each, and None when the
    store has answered after one.
    """
    since, failures, told = "", 0, ""

    def answered() -> None:
        nonlocal failures, told
        if failures:
            failures, told = 0, ""
            failed(None)

    while True:
        try:
            # Listed here, not by the watch: its first events come in the order of names, and
            # none of them would be a position to go on from if it broke among them.
            if not since:
                listing = await store.list(kind)
                await listed(listing)
                since = listing.resource_version
                answered()
            async for event in store.watch(kind, since=since):
                answered()
                changed(event)
                since = event.resource.resource_version
        except ExpiredError:
            since = ""  # lists anew: every object comes again, none is missed
        except StoreError as error:
            failures += 1
            failed(error)
            if told != str(error):
                told = str(error)
                log.warning("watch failed", extra={"kind": kind.KIND.kind, "error": error})
            await asyncio.sleep(max(_PAUSES.delay(failures), asked_delay(error)))
