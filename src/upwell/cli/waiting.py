"""Follow one object until it is as wished."""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from upwell.api.meta import Resource
from upwell.cli.errors import CommandError, Exit
from upwell.store.interface import ApiClient, Change, ExpiredError, Selector, WatchEvent


async def until[R: Resource](
    client: ApiClient,
    first: R,
    reached: Callable[[R], bool],
    *,
    changed: Callable[[R], None] = lambda _: None,
) -> R:
    """Return the object once `reached` holds, `changed` being told of each state before.

    Raises CommandError when the object is deleted. The caller sets `asyncio.timeout`.
    """
    selector = Selector(namespace=first.namespace, name=first.name)
    while True:
        try:
            async with watching(client, type(first), selector) as events:
                async for event in events:
                    if event.change is Change.DELETED:
                        raise CommandError(
                            f"{first.KIND.singular}/{first.name} was deleted", Exit.NOT_FOUND
                        )
                    changed(event.resource)
                    if reached(event.resource):
                        return event.resource
        except ExpiredError:
            continue  # too far behind: the next watch begins with the present state


async def until_deleted(client: ApiClient, gone: Resource) -> None:
    """Return once this very object (by uid) does not exist any more."""
    selector = Selector(namespace=gone.namespace, name=gone.name)
    while True:
        listing = await client.list(type(gone), selector)
        if not any(item.uid == gone.uid for item in listing.items):
            return
        try:
            since = listing.resource_version
            async with watching(client, type(gone), selector, since=since) as events:
                async for event in events:
                    if event.change is Change.DELETED:
                        break
        except ExpiredError:
            continue


def watching[R: Resource](
    client: ApiClient, kind: type[R], selector: Selector, *, since: str = ""
) -> "aclosing[AsyncGenerator[WatchEvent[R]]]":
    """Return a watch as a context, which closes it however the block is left."""
    return aclosing(client.watch(kind, selector, since=since))
