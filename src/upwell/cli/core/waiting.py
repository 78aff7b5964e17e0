"""Waiting for states of objects, through restarts of the server."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from weakref import WeakSet

from upwell.api.meta import Resource
from upwell.cli.core.errors import CommandError, Exit
from upwell.cli.core.terminal import echo
from upwell.store.interface import (
    ApiClient,
    Change,
    ExpiredError,
    Listing,
    Selector,
    StoreError,
    UnavailableError,
    WatchEvent,
)

_PAUSE = 0.5
"""Seconds before each try to reach a server that does not answer."""
_LOST: WeakSet[ApiClient] = WeakSet()
"""Clients whose servers do not answer, which has been told."""


async def until[R: Resource](
    client: ApiClient,
    first: R,
    reached: Callable[[R], bool],
    *,
    changed: Callable[[R], None] = lambda _: None,
) -> R:
    """Return the object once `reached` holds, calling `changed` with each state before.

    Raises CommandError when the object is deleted. The caller sets `asyncio.timeout`.
    """
    selector = Selector(namespace=first.namespace, name=first.name)
    gone = CommandError(f"{first.KIND.singular}/{first.name} was deleted", Exit.NOT_FOUND)

    def holds(state: R) -> bool:
        changed(state)
        return reached(state)

    while True:
        listing = await listed(client, type(first), selector)
        if not listing.items:
            raise gone
        for state in listing.items:
            if holds(state):
                return state
        try:
            since = listing.resource_version
            async with watching(client, type(first), selector, since=since) as events:
                async for event in events:
                    if event.change is Change.DELETED:
                        raise gone
                    if holds(event.resource):
                        return event.resource
        except ExpiredError:
            continue


async def until_created[R: Resource](
    client: ApiClient, kind: type[R], namespace: str, name: str
) -> R:
    """Return the object of this name once there is one. The caller sets `asyncio.timeout`."""
    selector = Selector(namespace=namespace, name=name)
    while True:
        listing = await listed(client, kind, selector)
        if listing.items:
            return listing.items[0]
        try:
            since = listing.resource_version
            async with watching(client, kind, selector, since=since) as events:
                async for event in events:
                    if event.change is not Change.DELETED:
                        return event.resource
        except ExpiredError:
            continue


async def until_deleted(client: ApiClient, gone: Resource) -> None:
    """Return once this object (by uid) does not exist any more."""
    selector = Selector(namespace=gone.namespace, name=gone.name)
    while True:
        listing = await listed(client, type(gone), selector)
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


async def listed[R: Resource](client: ApiClient, kind: type[R], selector: Selector) -> Listing[R]:
    """Return the objects that match; wait for a server that does not answer."""
    while True:
        try:
            return await client.list(kind, selector)
        except UnavailableError as error:
            await reconnected(client, error)


def watching[R: Resource](
    client: ApiClient, kind: type[R], selector: Selector, *, since: str
) -> "aclosing[AsyncGenerator[WatchEvent[R]]]":
    """Return the changes after `since` as a context, which closes the watch at its end.

    The watch resumes after a restart of the server; raises ExpiredError if that is too old.
    """
    return aclosing(_changes(client, kind, selector, since))


async def _changes[R: Resource](
    client: ApiClient, kind: type[R], selector: Selector, since: str
) -> AsyncGenerator[WatchEvent[R]]:
    while True:
        try:
            async with aclosing(client.watch(kind, selector, since=since)) as events:
                async for event in events:
                    since = event.resource.resource_version
                    yield event
        except UnavailableError as error:
            await reconnected(client, error)


async def reconnected(client: ApiClient, lost: UnavailableError) -> None:
    """Return once the server answers again, with notes on stderr; there is no time limit.

    Of several watches of one client, which all lose it, the first one tells.
    """
    tells = client not in _LOST
    if tells:
        _LOST.add(client)
        echo(f"lost the connection to the server ({lost}); retrying", err=True)
    try:
        while True:
            await asyncio.sleep(_PAUSE)
            if await answers(client):
                break
        if tells:
            echo("connected to the server again", err=True)
    finally:
        if tells:
            _LOST.discard(client)


async def answers(client: ApiClient) -> bool:
    """Return whether the server can be reached now."""
    try:
        await client.get_raw("/version")
    except UnavailableError:
        return False
    except StoreError:
        return True  # it refuses the request, so it is up
    return True
