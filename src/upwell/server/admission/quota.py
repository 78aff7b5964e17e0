"""Quota of objects, so that one client cannot fill the store for all."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncGenerator, Callable, Sequence
from decimal import Decimal
from weakref import WeakValueDictionary

from upwell.api.codec import RESOURCES
from upwell.api.core import ResourceQuota
from upwell.api.meta import Resource
from upwell.controller import ObjectCache
from upwell.machine.clock import elapsed
from upwell.policy.quotas.usage import (
    Limits,
    Usage,
    added,
    charge_of,
    counted_kinds,
    exceeded,
    limits_of,
    total,
)
from upwell.server.http.limits import ServerLimits
from upwell.store.interface import (
    EVERYTHING,
    Listing,
    Selector,
    Store,
    StoreError,
    WatchEvent,
    WatchProgress,
)

_COUNTED_SECONDS = 60.0
"""So long a count is good: reconcilers create objects too, and do not pass here."""
_FULL_SECONDS = 1.0
"""At the limit it is good for less: something may have been deleted."""
_ADVICE = "delete some first: old builds, images and events"


_DEFAULT = "default"
"""Name of the quota that the server's settings give to each namespace."""


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
        for kind in (one for one in RESOURCES if one.KIND.is_stored):
            found.update(item.namespace for item in (await self._store.list(kind)).items)
        self._by_namespace, self._counted_at = found, self._clock()


class NamespaceUsage:
    """Sums of what the objects of namespaces take, kept with each change that the cache sees.

    A kind is followed from when a quota first limits it.
    """

    def __init__(self, cache: ObjectCache) -> None:
        self._cache = cache
        self._followed: set[type[Resource]] = set()
        self._used: dict[str, dict[str, Decimal]] = defaultdict(lambda: defaultdict(Decimal))
        self._written: dict[tuple[str, type[Resource]], Resource] = {}
        """The last write of a client to a namespace and kind."""

    async def used(self, namespace: str, kinds: Sequence[type[Resource]]) -> Usage:
        """Return what the objects of these kinds take, those that clients have written among them.

        Raises UnavailableError. What was deleted just now may still be counted.
        """
        for kind in kinds:
            if kind not in self._followed:
                self._followed.add(kind)
                self._cache.on_change(kind, self._move)
        await self._cache.ready(*kinds)
        for kind in kinds:
            if (written := self._written.get((namespace, kind))) is not None:
                await self._cache.wait_for(written)
                self._written.pop((namespace, kind), None)
        return dict(self._used.get(namespace, {}))

    def wrote(self, resource: Resource) -> None:
        """Note a write that the next count is to have."""
        if type(resource) in self._followed:
            self._written[resource.namespace, type(resource)] = resource

    def _move(self, before: Resource | None, after: Resource | None) -> None:
        for resource, sign in ((before, -1), (after, 1)):
            if resource is not None:
                used = self._used[resource.namespace]
                for name, amount in charge_of(resource).items():
                    used[name] += sign * amount
                    if not used[name]:
                        del used[name]
                if not used:
                    del self._used[resource.namespace]


class NamespaceQuotas:
    """Asks a namespace's ResourceQuotas, and the settings', about what a client wants to have."""

    def __init__(self, store: Store, defaults: Usage, usage: NamespaceUsage | None = None) -> None:
        """`usage` knows what is used; without it, the store is counted each time."""
        self._store = store
        self._defaults = defaults
        self._usage = usage
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def lock(self, namespace: str) -> asyncio.Lock:
        """Return the lock that keeps writes of a namespace apart: each counts those before it."""
        found = self._locks.get(namespace)
        if found is None:
            found = self._locks[namespace] = asyncio.Lock()
        return found

    async def limits(self, namespace: str) -> Sequence[Limits]:
        """Return the limits of a namespace; the settings' where it has none of its own."""
        quotas = (await self._store.list(ResourceQuota, Selector(namespace))).items
        own = [limits_of(quota) for quota in quotas]
        known = {name for limit in own for name in limit.hard}
        others = {name: most for name, most in self._defaults.items() if name not in known}
        return [*own, Limits(_DEFAULT, others)] if others else own

    async def require(self, limits: Sequence[Limits], old: Resource | None, new: Resource) -> None:
        """Raise FullError when `new`, in the place of `old`, takes more than there may be."""
        taken = charge_of(old) if old is not None else {}
        limited = {name for limit in limits for name in limit.hard}
        wanted = {
            name: amount for name, amount in added(taken, charge_of(new)).items() if name in limited
        }
        if not wanted:
            return
        kinds = counted_kinds(wanted)
        if self._usage is not None:
            known = await self._usage.used(new.namespace, kinds)
            if not exceeded(limits, wanted, lambda name: known.get(name, Decimal(0))):
                return
        # Nobody is refused for what was deleted just now.
        used = await self._count(new.namespace, kinds)
        if fault := exceeded(limits, wanted, lambda name: used.get(name, Decimal(0))):
            kind = new.KIND
            what = f"{kind.plural}.{kind.group}" if kind.group else kind.plural
            name = new.name or new.metadata.generate_name
            raise FullError(f'{what} "{name}" is forbidden: {fault}')

    async def _count(self, namespace: str, kinds: Sequence[type[Resource]]) -> Usage:
        place = Selector(namespace)
        found = [one for kind in kinds for one in (await self._store.list(kind, place)).items]
        return total(map(charge_of, found))

    def wrote(self, resource: Resource) -> None:
        """Note a write, whose amounts count from now on."""
        if self._usage is not None:
            self._usage.wrote(resource)


class LimitedStore:
    """The store as clients of the API see it: it takes no more objects than there may be."""

    def __init__(
        self,
        store: Store,
        limits: ServerLimits,
        clock: Callable[[], float] = elapsed,
        cache: ObjectCache | None = None,
    ) -> None:
        """`cache` is of the same store, and keeps what namespaces have counted."""
        self._store = store
        self._quota = ObjectQuota(store, limits, clock)
        usage = NamespaceUsage(cache) if cache is not None else None
        self._namespaces = NamespaceQuotas(store, limits.namespace_quota, usage)

    async def create[R: Resource](self, resource: R) -> R:
        """Store a new object; raises FullError or AlreadyExistsError."""
        await self._quota.admit(resource.namespace)
        limits = await self._limits(resource)
        if not limits:
            return await self._store.create(resource)
        async with self._namespaces.lock(resource.namespace):
            await self._namespaces.require(limits, None, resource)
            created = await self._store.create(resource)
            self._namespaces.wrote(created)
            return created

    async def get[R: Resource](self, kind: type[R], namespace: str, name: str) -> R:
        """Return one object; raises NotFoundError."""
        return await self._store.get(kind, namespace, name)

    async def list[R: Resource](self, kind: type[R], selector: Selector = EVERYTHING) -> Listing[R]:
        """Return the objects that match."""
        return await self._store.list(kind, selector)

    async def update[R: Resource](self, resource: R) -> R:
        """Write metadata and spec; raises FullError, NotFoundError or ConflictError."""
        limits = await self._limits(resource)
        if not limits:
            return await self._store.update(resource)
        async with self._namespaces.lock(resource.namespace):
            old = await self._store.get(type(resource), resource.namespace, resource.name)
            await self._namespaces.require(limits, old, resource)
            updated = await self._store.update(resource)
            self._namespaces.wrote(updated)
            return updated

    async def _limits(self, resource: Resource) -> Sequence[Limits]:
        return await self._namespaces.limits(resource.namespace) if resource.namespace else ()

    async def update_status[R: Resource](self, resource: R) -> R:
        """Write the status; raises NotFoundError or ConflictError."""
        return await self._store.update_status(resource)

    async def delete(
        self, kind: type[Resource], namespace: str, name: str, *, resource_version: str = ""
    ) -> None:
        """Delete an object; raises NotFoundError."""
        await self._store.delete(kind, namespace, name, resource_version=resource_version)

    def watch[R: Resource](
        self,
        kind: type[R],
        selector: Selector = EVERYTHING,
        *,
        since: str = "",
        progress: WatchProgress | None = None,
    ) -> AsyncGenerator[WatchEvent[R]]:
        """Yield changes after `since` in order, for ever; raises ExpiredError."""
        return self._store.watch(kind, selector, since=since, progress=progress)
