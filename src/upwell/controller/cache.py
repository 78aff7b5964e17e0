"""The objects that this process follows, in memory: one watch for each kind, shared and read-only.

The cache lags behind the store, and each kind by itself: what it shows of two kinds may never have
stood in the store at one time. Who decides by it guards its writes by resourceVersion or by names
that follow from the decision, and calls `wait_for` before it decides again upon a write of its own.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping
from typing import Any, cast

from upwell.api.meta import ObjectKey, Resource
from upwell.controller.failing import FailingReconciles
from upwell.controller.watching import list_and_watch
from upwell.machine.clock import elapsed
from upwell.store.interface import (
    Change,
    KindWithdrawnError,
    Listing,
    Store,
    StoreError,
    UnavailableError,
    WatchEvent,
)

log = logging.getLogger(__name__)

_LONGEST_LAG = 30.0
"""Seconds that `wait_for` waits."""
_FAULT_SECONDS = 45.0
"""Time for which a refusal counts: what is refused is asked for again before, and refused again."""
_SLICE = 10
"""Objects of a listing that are taken in before others get their turn: milliseconds."""

type Handler[R: Resource] = Callable[[R | None, R | None], None]
"""Callback with the state before a change and after it: None where there was, or is, no object.

It is quick, does no I/O, and does not raise: all that follows the kind waits for it.
"""


class CacheIndex[R: Resource, K: Hashable]:
    """The objects of a cache by keys that are taken from them; an object may have any number."""

    def __init__(self, keys: Callable[[R], Iterable[K]]) -> None:
        self._keys = keys
        self._found: dict[K, dict[ObjectKey, R]] = defaultdict(dict)

    def get(self, key: K) -> Collection[R]:
        """Return the objects that have `key`."""
        found = self._found.get(key)
        return tuple(found.values()) if found else ()

    def move(self, before: R | None, after: R | None) -> None:
        """Take a change in."""
        old, new = self._keys_of(before), self._keys_of(after)
        for key in old - new:
            found = self._found[key]
            found.pop(cast("R", before).key, None)
            if not found:
                del self._found[key]
        for key in new:
            self._found[key][cast("R", after).key] = cast("R", after)

    def _keys_of(self, resource: R | None) -> set[K]:
        if resource is None:
            return set()
        try:
            return set(self._keys(resource))
        except Exception:
            # A fault of ours: it costs this object its place here, and nobody else anything.
            log.exception("object not indexed", extra={"key": str(resource.key)})
            return set()


class ObjectCache:
    """The objects of a store; `run` keeps it up to date.

    A kind is followed from when an index, a handler or `ready` first asks for it, before or during
    `run`: by one watch, whoever else asks. Until `run` is called, each `ready` lists its kinds.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        """Store that the cache shows; for a decision that must not rest on an older copy."""
        self.failing = FailingReconciles()
        """Record of the controllers that work by the cache."""
        self._kinds: dict[str, _FollowedKind[Any]] = {}
        self._group: asyncio.TaskGroup | None = None

    def index[R: Resource, K: Hashable](
        self, kind: type[R], keys: Callable[[R], Iterable[K]]
    ) -> CacheIndex[R, K]:
        """Return an index that is kept up to date."""
        index = CacheIndex(keys)
        self.on_change(kind, index.move)
        return index

    def on_change[R: Resource](self, kind: type[R], handler: Handler[R]) -> None:
        """Call `handler` for each object, and at each change in order, once the cache shows it.

        Handlers that were registered earlier are called earlier: an index before what reads it.
        """
        self._follow(kind).register(handler)

    async def replay[R: Resource](self, kind: type[R], handler: Handler[R]) -> None:
        """Call `handler` for each object, as when it was registered; changes come in between."""
        for told, _ in enumerate(self._follow(kind).replay(handler), 1):
            if told % _SLICE == 0:
                await asyncio.sleep(0)

    def get[R: Resource](self, kind: type[R], namespace: str, name: str) -> R | None:
        """Return one object of a kind that is followed."""
        key = ObjectKey(kind.KIND.kind, namespace, name)
        followed = self._kinds.get(key.kind)
        if followed is None:
            raise LookupError(f"the cache does not follow {key.kind}: nobody has asked for it")
        return cast("R | None", followed.objects.get(key))

    async def run(self) -> None:
        """Keep up with the store until cancelled."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            try:
                for followed in self._kinds.values():
                    self._start(group, followed)
                await asyncio.Event().wait()  # other kinds may be asked for later
            finally:
                self._group = None

    def faults(self) -> Mapping[str, str]:
        """Return why kinds cannot be followed now, by kind: the store refuses to tell of them.

        A store that does not answer refuses nothing.
        """
        found = {name: followed.fault() for name, followed in self._kinds.items()}
        return {name: fault for name, fault in sorted(found.items()) if fault}

    async def ready(self, *kinds: type[Resource]) -> None:
        """Wait until each of `kinds` was listed."""
        for followed in [self._follow(kind) for kind in kinds]:
            if self._group is None:
                await self._list(followed)
            await followed.reach(0)

    async def wait_for(self, written: Resource) -> None:
        """Wait until the cache is as new as `written`, which came from the store.

        Versions of one kind in one namespace are compared as numbers (Kubernetes API concepts,
        "Resource versions"). Raises UnavailableError if that takes too long: the watch is broken.
        """
        if self._group is None:
            return
        version = written.resource_version
        try:
            async with asyncio.timeout(_LONGEST_LAG):
                await self._follow(type(written)).reach(int(version), written.key)
        except TimeoutError:
            missed = f"version {version} of {written.key} after {_LONGEST_LAG:g} s"
            raise UnavailableError(f"the cache has not seen {missed}") from None

    def _follow[R: Resource](self, kind: type[R]) -> "_FollowedKind[R]":
        followed = self._kinds.get(kind.KIND.kind)
        if followed is None:
            followed = self._kinds[kind.KIND.kind] = _FollowedKind(kind)
            if self._group is not None:
                self._start(self._group, followed)
        return followed

    def _start(self, group: asyncio.TaskGroup, followed: "_FollowedKind[Any]") -> None:
        group.create_task(followed.follow(self.store), name=f"cache:{followed.kind.KIND}")

    async def _list(self, followed: "_FollowedKind[Any]") -> None:
        listing = await self.store.list(followed.kind)
        if self._group is None:  # else `run` lists, and knows better what came last
            for _ in followed.take_all(listing):
                pass


class _FollowedKind[R: Resource]:
    """The objects of one kind, and the handlers of their changes."""

    def __init__(self, kind: type[R]) -> None:
        self.kind = kind
        self.objects: dict[ObjectKey, R] = {}
        self._handlers: list[Handler[R]] = []
        self._listed_version = -1
        self._versions: dict[str, int] = {}
        """Of the last change in each namespace: stores tell those of two in any order."""
        self._moved = asyncio.Event()
        self._fault, self._failed_at = "", 0.0

    def register(self, handler: Handler[R]) -> None:
        self._handlers.append(handler)
        for _ in self.replay(handler):
            pass

    def replay(self, handler: Handler[R]) -> Iterator[None]:
        """Tell a handler of each object that there is when its turn comes, one at each step."""
        for key in tuple(self.objects):
            if (resource := self.objects.get(key)) is not None:
                handler(None, resource)
            yield

    async def reach(self, version: int, key: ObjectKey | None = None) -> None:
        """Wait until the changes up to `version` are in, of an object or of what was listed."""
        while max(self._listed_version, self._version_of(key)) < version:
            await self._moved.wait()

    def _version_of(self, key: ObjectKey | None) -> int:
        if key is None:
            return -1
        found = self.objects.get(key)
        own = -1 if found is None else int(found.resource_version or 0)
        return max(own, self._versions.get(key.namespace, -1))

    async def follow(self, store: Store) -> None:
        await list_and_watch(store, self.kind, self._listed, self._changed, self._failed)

    def fault(self) -> str:
        return self._fault if elapsed() - self._failed_at < _FAULT_SECONDS else ""

    def _failed(self, error: StoreError | None) -> None:
        is_silent = isinstance(error, UnavailableError) and not isinstance(
            error, KindWithdrawnError
        )
        self._fault = "" if error is None or is_silent else str(error)
        self._failed_at = elapsed()

    def take_all(self, listing: Listing[R]) -> Iterator[None]:
        """Take a listing in, one object at each step.

        What cannot be read stays as it was seen last: to forget it would be to take it for deleted.
        """
        present = {resource.key: resource for resource in listing.items}
        listed_version = int(listing.resource_version or 0)
        newest = max((int(one.resource_version or 0) for one in listing.items), default=0)
        newest = max(newest, listed_version)
        # A store that was put back to an earlier state gives versions again that it gave before.
        went_back = newest < max(self._listed_version, *self._versions.values(), 0)
        if went_back:
            self._versions = {name: min(one, newest) for name, one in self._versions.items()}
        for gone in self.objects.keys() - present.keys() - set(listing.unreadable):
            self._replace(gone, None)
            yield
        for key, resource in present.items():
            self._replace(key, resource, same_version=went_back)
            yield
        self._listed_version = listed_version
        self._move()

    async def _listed(self, listing: Listing[R]) -> None:
        for taken, _ in enumerate(self.take_all(listing), 1):
            if taken % _SLICE == 0:
                await asyncio.sleep(0)

    def _changed(self, event: WatchEvent[R]) -> None:
        after = None if event.change is Change.DELETED else event.resource
        self._replace(event.resource.key, after)
        self._versions[event.resource.namespace] = int(event.resource.resource_version)
        self._move()

    def _replace(self, key: ObjectKey, after: R | None, *, same_version: bool = False) -> None:
        before = self.objects.get(key)
        if before is after or (_version(before) == _version(after) and not same_version):
            return
        if after is None:
            del self.objects[key]
        else:
            self.objects[key] = after
        for handler in self._handlers:
            try:
                handler(before, after)
            except Exception:
                # A fault of ours, which must not take the change from all others.
                log.exception("change not handled", extra={"key": str(key)})

    def _move(self) -> None:
        self._moved.set()
        self._moved = asyncio.Event()


def _version(resource: Resource | None) -> str:
    return "" if resource is None else resource.resource_version
