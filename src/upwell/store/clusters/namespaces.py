"""Lists and watches of some namespaces of a cluster, each by a request of its own.

An account that works in these alone may list no kind in the whole cluster.
"""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import replace

from upwell.api.meta import Resource
from upwell.machine.tasks import together
from upwell.store.interface import (
    Change,
    ExpiredError,
    Listing,
    Selector,
    Store,
    StoreError,
    WatchEvent,
)
from upwell.store.kubernetes_errors import StoreForbiddenError

_REMEMBERED = 64
"""Listings of which a watch can go on: one follows a kind, and lists it again when that fails."""


class SeveralNamespaces:
    """Reads objects of `namespaces` as if they were listed and watched at once.

    Those that are `optional` have none where the account may not list them. Watches tell the
    changes of each namespace in order, and those of two in any order. So a watch goes on from a
    listing of this process alone; from any other version it raises ExpiredError.
    """

    def __init__(
        self, cluster: Store, namespaces: frozenset[str], optional: frozenset[str] = frozenset()
    ) -> None:
        self._cluster = cluster
        self._namespaces = tuple(sorted(namespaces | optional))
        self._optional = optional - namespaces
        self._listed: OrderedDict[tuple[type[Resource], str], Mapping[str, str]] = OrderedDict()
        """Version of each namespace's listing, by kind and version of the whole."""

    async def list[R: Resource](self, kind: type[R], selector: Selector) -> Listing[R]:
        """Return the objects that match; the version is that of the oldest part.

        Raises StoreForbiddenError where not one of the namespaces may be listed.
        """
        listings = await together(
            self._list(kind, selector, namespace) for namespace in self._namespaces
        )
        found = [listing for listing in listings if listing is not None]
        versions = {
            namespace: listing.resource_version
            for namespace, listing in zip(self._namespaces, listings, strict=True)
            if listing is not None
        }
        if not versions:
            names = ", ".join(self._namespaces)
            raise StoreForbiddenError(f"cannot list {kind.KIND.resource} in any of {names}")
        whole = min(versions.values(), key=int)
        self._remember(kind, whole, versions)
        return Listing(
            [one for listing in found for one in listing.items],
            whole,
            [key for listing in found for key in listing.unreadable],
        )

    async def _list[R: Resource](
        self, kind: type[R], selector: Selector, namespace: str
    ) -> Listing[R] | None:
        try:
            return await self._cluster.list(kind, replace(selector, namespace=namespace))
        except StoreForbiddenError:
            if namespace not in self._optional:
                raise
            return None

    async def watch[R: Resource](
        self, kind: type[R], selector: Selector, since: str
    ) -> AsyncGenerator[WatchEvent[R]]:
        """Yield changes after the listing `since`, for ever; raises ExpiredError.

        Raises it too when one of the watches breaks after the first change: what others have told
        may be newer than what that one still had to tell.
        """
        if not since:
            listing = await self.list(kind, selector)
            for resource in listing.items:
                yield WatchEvent(Change.ADDED, resource)
            since = listing.resource_version
        positions = self._listed.get((kind, since))
        if positions is None:
            raise ExpiredError(since)
        is_first = True
        async with AsyncExitStack() as stack:
            watches = [
                await stack.enter_async_context(
                    aclosing(
                        self._cluster.watch(
                            kind, replace(selector, namespace=namespace), since=position
                        )
                    )
                )
                for namespace, position in positions.items()
            ]
            async with aclosing(_merged(watches)) as events:
                try:
                    async for event in events:
                        is_first = False
                        yield event
                except StoreError as error:
                    if is_first:
                        raise
                    raise ExpiredError(since) from error

    def _remember(self, kind: type[Resource], whole: str, versions: Mapping[str, str]) -> None:
        before = self._listed.pop((kind, whole), versions)
        # Whoever has listed at the same version goes on from the older positions: nothing is lost.
        self._listed[kind, whole] = {
            namespace: min(version, before.get(namespace, version), key=int)
            for namespace, version in versions.items()
        }
        while len(self._listed) > _REMEMBERED:
            self._listed.popitem(last=False)


async def _merged[T](sources: Sequence[AsyncIterator[T]]) -> AsyncGenerator[T]:
    """Yield what each source yields, as it comes; raises the first error of one."""
    waiting = {asyncio.ensure_future(anext(source)): source for source in sources}
    try:
        while waiting:
            done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                source = waiting.pop(task)
                found = task.result()
                waiting[asyncio.ensure_future(anext(source))] = source
                yield found
    finally:
        for task in waiting:
            task.cancel()
        if waiting:
            await asyncio.wait(waiting)
