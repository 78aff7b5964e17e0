"""Objects of several kinds in memory, kept up to date by watches and indexed: shared and read-only.

A view lags behind the store, and each kind by itself: what it shows of two kinds may never have
stood in the store at one time. Who decides by it guards its writes by resourceVersion or by names
that follow from the decision, and calls `wait_for` before it decides again upon a write of its own.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Collection, Hashable, Iterable
from typing import Any, cast

from upwell.api.meta import ObjectKey, Resource
from upwell.controller.watching import list_and_watch
from upwell.store.interface import Change, Listing, Store, UnavailableError, WatchEvent

_LONGEST_LAG = 30.0
"""Seconds that `wait_for` waits."""

type Handler[R: Resource] = Callable[[R | None, R | None], None]
"""Is told the state before a change and after it: None where there was, or is, no object."""


class CacheIndex[R: Resource, K: Hashable]:
    """The objects of a view by keys that are taken from them; an object may have any number."""

    def __init__(self, keys: Callable[[R], Iterable[K]]) -> None:
        self._keys = keys
        self._found: dict[K, dict[ObjectKey, R]] = defaultdict(dict)

    def get(self, key: K) -> Collection[R]:
        """Return the objects that have `key`."""
        found = self._found.get(key)
        return tuple(found.values()) if found else ()

    def move(self, before: R | None, after: R | None) -> None:
        """Take a change in."""
        old = set(self._keys(before)) if before is not None else set()
        new = set(self._keys(after)) if after is not None else set()
        for key in old - new:
            found = self._found[key]
            found.pop(cast("R", before).key, None)
            if not found:
                del self._found[key]
        for key in new:
            self._found[key][cast("R", after).key] = cast("R", after)


class ObjectCache:
    """All objects of `kinds`. Until `run` is called, each `ready` lists them."""

    def __init__(self, store: Store, kinds: Iterable[type[Resource]], *, name: str) -> None:
        self._store = store
        self._kinds = tuple(kinds)
        self._name = name
        self._objects: dict[str, dict[ObjectKey, Resource]] = {k.KIND.kind: {} for k in self._kinds}
        self._told: dict[str, list[Handler[Any]]] = defaultdict(list)
        self._versions: dict[str, int] = {}
        self._moved = asyncio.Event()
        self._runs = False

    def index[R: Resource, K: Hashable](
        self, kind: type[R], keys: Callable[[R], Iterable[K]]
    ) -> CacheIndex[R, K]:
        """Return an index that is kept up to date."""
        index = CacheIndex(keys)
        self.on_change(kind, index.move)
        return index

    def on_change[R: Resource](self, kind: type[R], told: Handler[R]) -> None:
        """Call `told` for each object, and at each change once the view shows it.

        Those that were registered earlier are told earlier.
        """
        self._told[kind.KIND.kind].append(told)
        for resource in self._objects[kind.KIND.kind].values():
            told(None, cast("R", resource))

    def get[R: Resource](self, kind: type[R], namespace: str, name: str) -> R | None:
        """Return one object."""
        key = ObjectKey(kind.KIND.kind, namespace, name)
        return cast("R | None", self._objects[key.kind].get(key))

    async def run(self) -> None:
        """Keep up with the store until cancelled."""
        self._runs = True
        try:
            async with asyncio.TaskGroup() as group:
                for kind in self._kinds:
                    group.create_task(self._follow(kind), name=f"{self._name}:{kind.KIND}")
        finally:
            self._runs = False

    async def ready(self) -> None:
        """Wait until every kind was listed."""
        if not self._runs:
            for kind in self._kinds:
                self._list(kind, await self._store.list(kind))
        while len(self._versions) < len(self._kinds):
            await self._moved.wait()

    async def wait_for(self, written: Resource) -> None:
        """Wait until the view is as new as `written`, which came from the store.

        Versions of one kind are compared as numbers (Kubernetes API concepts, "Resource
        versions"). Raises UnavailableError if that takes too long: the watch is broken.
        """
        if not self._runs:
            return
        kind, version = written.KIND.kind, int(written.resource_version)
        try:
            async with asyncio.timeout(_LONGEST_LAG):
                while self._versions.get(kind, -1) < version:
                    await self._moved.wait()
        except TimeoutError:
            raise UnavailableError(f"the change of {written.key} was not heard of yet") from None

    async def _follow[R: Resource](self, kind: type[R]) -> None:
        async def listed(listing: Listing[R]) -> None:
            self._list(kind, listing)

        async def changed(event: WatchEvent[R]) -> None:
            after = None if event.change is Change.DELETED else event.resource
            self._replace(event.resource.key, after)
            self._move(kind, event.resource.resource_version)

        await list_and_watch(self._store, kind, listed, changed, name=self._name)

    def _list(self, kind: type[Resource], listing: Listing[Any]) -> None:
        present = {resource.key: resource for resource in listing.items}
        for gone in self._objects[kind.KIND.kind].keys() - present.keys():
            self._replace(gone, None)
        for key, resource in present.items():
            self._replace(key, resource)
        self._move(kind, listing.resource_version)

    def _replace(self, key: ObjectKey, after: Resource | None) -> None:
        objects = self._objects[key.kind]
        before = objects.get(key)
        if _version(before) == _version(after):
            return
        if after is None:
            del objects[key]
        else:
            objects[key] = after
        for told in self._told[key.kind]:
            told(before, after)

    def _move(self, kind: type[Resource], version: str) -> None:
        self._versions[kind.KIND.kind] = int(version or 0)
        self._moved.set()
        self._moved = asyncio.Event()


def _version(resource: Resource | None) -> str:
    return "" if resource is None else resource.resource_version
