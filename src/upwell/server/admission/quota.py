"""Quota of objects, so that one client cannot fill the store for all."""

import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable

from upwell.api.codec import RESOURCES
from upwell.api.meta import Resource
from upwell.server.http.limits import ServerLimits
from upwell.store.interface import EVERYTHING, Listing, Selector, Store, StoreError, WatchEvent

_COUNTED_SECONDS = 60.0
"""So long a count is good: reconcilers create objects too, and do not pass here."""
_FULL_SECONDS = 1.0
"""At the limit it is good for less: something may have been deleted."""
_ADVICE = "delete some first: old builds, images and events"


class FullError(StoreError):
    """There are as many objects as there may be."""

    reason = "Forbidden"


class ObjectQuota:
    """Count of objects, taken from time to time, and of those that clients create in between."""

    def __init__(self, store: Store, limits: ServerLimits, clock: Callable[[], float]) -> None:
        self._store = store
        self._limits = limits
        self._clock = clock
        self._by_namespace: Counter[str] = Counter()
        self._counted_at = float("-inf")

    async def admit(self, namespace: str) -> None:
        """Count one more object of `namespace`; raises FullError when there are too many."""
        age = self._clock() - self._counted_at
        if age > _COUNTED_SECONDS or (self._fault(namespace) and age > _FULL_SECONDS):
            await self._count()
        if fault := self._fault(namespace):
            raise FullError(fault)
        self._by_namespace[namespace] += 1

    def _fault(self, namespace: str) -> str:
        limits = self._limits
        if namespace and self._by_namespace[namespace] >= limits.objects_per_namespace:
            most = limits.objects_per_namespace
            return f"namespace {namespace} holds {most} objects, the maximum: {_ADVICE}"
        if self._by_namespace.total() >= limits.objects:
            return f"the store holds {limits.objects} objects, the maximum: {_ADVICE}"
        return ""

    async def _count(self) -> None:
        found: Counter[str] = Counter()
        for kind in RESOURCES:
            found.update(item.namespace for item in (await self._store.list(kind)).items)
        self._by_namespace, self._counted_at = found, self._clock()


class LimitedStore:
    """The store as clients of the API see it: it takes no more objects than there may be."""

    def __init__(
        self, store: Store, limits: ServerLimits, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._store = store
        self._quota = ObjectQuota(store, limits, clock)

    async def create[R: Resource](self, resource: R) -> R:
        """Store a new object; raises FullError or AlreadyExistsError."""
        await self._quota.admit(resource.namespace)
        return await self._store.create(resource)

    async def get[R: Resource](self, kind: type[R], namespace: str, name: str) -> R:
        """Return one object; raises NotFoundError."""
        return await self._store.get(kind, namespace, name)

    async def list[R: Resource](self, kind: type[R], selector: Selector = EVERYTHING) -> Listing[R]:
        """Return the objects that match."""
        return await self._store.list(kind, selector)

    async def update[R: Resource](self, resource: R) -> R:
        """Write metadata and spec; raises NotFoundError or ConflictError."""
        return await self._store.update(resource)

    async def update_status[R: Resource](self, resource: R) -> R:
        """Write the status; raises NotFoundError or ConflictError."""
        return await self._store.update_status(resource)

    async def delete(
        self, kind: type[Resource], namespace: str, name: str, *, resource_version: str = ""
    ) -> None:
        """Delete an object; raises NotFoundError."""
        await self._store.delete(kind, namespace, name, resource_version=resource_version)

    def watch[R: Resource](
        self, kind: type[R], selector: Selector = EVERYTHING, *, since: str = ""
    ) -> AsyncGenerator[WatchEvent[R]]:
        """Yield changes after `since` in order, for ever; raises ExpiredError."""
        return self._store.watch(kind, selector, since=since)
