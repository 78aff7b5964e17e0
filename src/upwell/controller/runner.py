"""Feeds a reconciler from watches through a work queue."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from upwell.api.meta import ObjectKey, Resource
from upwell.controller.queue import Backoff, WorkQueue
from upwell.controller.watching import list_and_watch
from upwell.store.interface import ConflictError, Listing, Store, WatchEvent

log = logging.getLogger(__name__)

_CONFLICTS_AT_ONCE = 5
"""So many conflicts in a row are tried again at once. More of them look like two writers that undo
each other's work: those are slowed down by the backoff, and told."""


@dataclass(frozen=True, slots=True)
class Result:
    """What a reconcile wants next; without a time, it waits for a change."""

    requeue_after: float | None = None
    """Seconds."""


class Reconciler(Protocol):
    """Brings one object from what is to what should be: reads all state, decides, acts.

    May be killed at any instant and is then called again. Raises to be retried with backoff.
    """

    async def reconcile(self, key: ObjectKey) -> Result:
        """Reconcile the object that `key` names; it may be gone."""
        ...


type ToKeys = Callable[[Resource], Awaitable[Iterable[ObjectKey]]]


async def same_key(resource: Resource) -> Iterable[ObjectKey]:
    """Map a change to the changed object itself."""
    return (resource.key,)


@dataclass(frozen=True, slots=True)
class Watch:
    """Changes of `kind` ask for work on the keys that `to_keys` maps them to."""

    kind: type[Resource]
    to_keys: ToKeys = same_key


class Controller:
    """One reconciler with its watches, queue and workers."""

    def __init__(
        self,
        name: str,
        reconciler: Reconciler,
        store: Store,
        watches: Sequence[Watch],
        *,
        workers: int = 4,
        backoff: Backoff | None = None,
    ) -> None:
        self.name = name
        self.queue: WorkQueue[ObjectKey] = WorkQueue(backoff)
        self._reconciler = reconciler
        self._store = store
        self._watches = watches
        self._workers = workers
        self._conflicts: dict[ObjectKey, int] = {}
        """Conflicts in a row."""

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as group:
            for watch in self._watches:
                group.create_task(self._follow(watch), name=f"{self.name}:{watch.kind.KIND}")
            for number in range(self._workers):
                group.create_task(self._work(), name=f"{self.name}:worker-{number}")

    async def feed(self, keys: AsyncIterator[ObjectKey]) -> None:
        """Ask for work on every key that comes, until the source ends."""
        async for key in keys:
            self.queue.add(key)

    async def _follow(self, watch: Watch) -> None:
        async def listed(listing: Listing[Resource]) -> None:
            for resource in listing.items:
                await self._feed(watch, resource)

        async def changed(event: WatchEvent[Resource]) -> None:
            await self._feed(watch, event.resource)

        await list_and_watch(self._store, watch.kind, listed, changed, name=self.name)

    async def _feed(self, watch: Watch, resource: Resource) -> None:
        for key in await watch.to_keys(resource):
            self.queue.add(key)

    async def _work(self) -> None:
        while True:
            key = await self.queue.get()
            try:
                await self._reconcile(key)
            finally:
                self.queue.done(key)

    async def _reconcile(self, key: ObjectKey) -> None:
        try:
            result = await self._reconciler.reconcile(key)
        except ConflictError as error:
            # Somebody wrote first, which is no failure: read again, decide again.
            count = self._conflicts.get(key, 0) + 1
            self._conflicts[key] = count
            if count <= _CONFLICTS_AT_ONCE:
                self.queue.add(key)
            else:
                self._retry(key, error, expected=True)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is logged and tried again
            self._conflicts.pop(key, None)
            self._retry(key, error, expected=getattr(error, "retryable", False))
        else:
            self._conflicts.pop(key, None)
            self.queue.forget(key)
            if result.requeue_after is not None:
                self.queue.add_after(key, result.requeue_after)

    def _retry(self, key: ObjectKey, error: Exception, *, expected: bool) -> None:
        delay = self.queue.retry(key, _wanted_delay(error))
        log.log(
            logging.WARNING if expected else logging.ERROR,
            "reconcile failed",
            extra={"controller": self.name, "key": str(key), "retry_in": delay, "why": str(error)},
            exc_info=None if expected else error,
        )


def _wanted_delay(error: Exception) -> float:
    return float(getattr(error, "retry_after", None) or 0)
