"""Feeds a reconciler from the cache through a work queue."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

from upwell.api.meta import ObjectKey, Resource
from upwell.controller.cache import Handler, ObjectCache
from upwell.controller.queue import WorkQueue
from upwell.machine.backoff import Backoff, asked_delay
from upwell.machine.disk import is_machine_fault
from upwell.machine.tasks import first_error
from upwell.store.interface import ConflictError, NotFoundError, UnreadableError

log = logging.getLogger(__name__)

_CONFLICTS_AT_ONCE = 5
"""So many conflicts in a row are tried again at once. More of them look like two writers that undo
each other's work: those are slowed down by the backoff, and logged."""


_FEED_PAUSES = Backoff(first=1.0, longest=30.0)


@dataclass(frozen=True, slots=True)
class Result:
    """Next run that a reconcile asks for; without a time, it waits for a change."""

    requeue_after: float | None = None
    """Seconds."""


class Reconciler(Protocol):
    """Brings one object from what is to what should be: reads all state, decides, acts.

    May be killed at any instant and is then called again. Raises to be retried with backoff.
    """

    async def reconcile(self, key: ObjectKey) -> Result:
        """Reconcile the object that `key` names; it may be gone."""
        ...


type ToKeys[R: Resource] = Callable[[R | None, R | None], Iterable[ObjectKey]]
"""Maps a change, from the state before it to the state after it, to the keys that it concerns.

It receives every change, in order, when the indexes have it already. It does no I/O.
"""


def same_key(before: Resource | None, after: Resource | None) -> Iterable[ObjectKey]:
    """Map a change to the changed object itself."""
    return (changed.key for changed in (after or before,) if changed is not None)


def of_both[R: Resource](keys: Callable[[R], Iterable[ObjectKey]]) -> ToKeys[R]:
    """Map a change to what `keys` says of the state before it, and of the state after it."""

    def to_keys(before: R | None, after: R | None) -> Iterable[ObjectKey]:
        for state in (before, after):
            if state is not None:
                yield from keys(state)

    return to_keys


@dataclass(frozen=True, slots=True)
class Watch[R: Resource]:
    """Changes of `kind` ask for work on the keys that `to_keys` maps them to."""

    kind: type[R]
    to_keys: ToKeys[R] = same_key


type Feed = Callable[[], AsyncIterator[ObjectKey]]
"""Yields keys that ask for work, for what no object tells of.

When it raises it is called again: it yields then what may have been missed, or does so in time.
"""


class Controller:
    """One reconciler with its watches, feeds, queue and workers.

    The cache tells it of changes; it opens no watch of its own. Work begins when the kinds of its
    watches are listed. `queue` is given where the reconciler asks for work by itself, `lifespan`
    where it needs something around all work: entered before the first reconcile, left after the
    last.
    """

    def __init__(  # noqa: PLR0913 - each part of a controller, most of them rarely given
        self,
        name: str,
        reconciler: Reconciler,
        cache: ObjectCache,
        watches: Sequence[Watch[Any]],
        *,
        feeds: Sequence[Feed] = (),
        workers: int = 4,
        backoff: Backoff | None = None,
        queue: WorkQueue[ObjectKey] | None = None,
        lifespan: Callable[[], AbstractAsyncContextManager[None]] = nullcontext,
    ) -> None:
        self.name = name
        self._backoff = backoff or Backoff()
        self.queue: WorkQueue[ObjectKey] = WorkQueue(self._backoff) if queue is None else queue
        self.queue.expect(workers)
        self._reconciler = reconciler
        self._cache = cache
        self._kinds = [watch.kind for watch in watches]
        self._feeds = feeds
        self._workers = workers
        self._lifespan = lifespan
        self._conflicts: dict[ObjectKey, int] = {}
        """Conflicts in a row."""
        self._has_run = False
        self._handlers = [(watch.kind, self._handler(watch)) for watch in watches]
        for kind, handler in self._handlers:
            cache.on_change(kind, handler)

    async def run(self) -> None:
        """Work until cancelled; run again, look at every object, as a new process would."""
        async with self._lifespan(), asyncio.TaskGroup() as group:
            for feed in self._feeds:
                group.create_task(self._take(feed), name=f"{self.name}:feed")
            await self._cache.ready(*self._kinds)
            self._cache.failing.forget_all(self.name)
            if self._has_run:
                for kind, handler in self._handlers:
                    await self._cache.replay(kind, handler)
            self._has_run = True
            for number in range(self._workers):
                group.create_task(self._work(), name=f"{self.name}:worker-{number}")

    def _handler(self, watch: Watch[Any]) -> Handler[Any]:
        def changed(before: Resource | None, after: Resource | None, failures: int = 0) -> None:
            try:
                for key in watch.to_keys(before, after):
                    self.queue.add(key)
            except Exception:
                # A fault of ours, which must not take the change from the others; nor is it lost.
                pause = self._backoff.delay(failures + 1)
                changed_key = next(iter(same_key(before, after)), watch.kind.KIND)
                where = {"controller": self.name, "key": str(changed_key), "retry_in": pause}
                log.exception("change not mapped", extra=where)
                loop = asyncio.get_running_loop()
                loop.call_later(pause, changed, before, after, failures + 1)

        return changed

    async def _take(self, feed: Feed) -> None:
        """Add what a feed yields; one that fails is logged, and begun anew after a pause."""
        failures = 0
        while True:
            try:
                async for key in feed():
                    self.queue.add(key)
                    failures = 0
            except Exception as error:
                failures += 1
                pause = max(_FEED_PAUSES.delay(failures), asked_delay(error))
                where = {"controller": self.name, "retry_in": pause}
                if getattr(error, "retryable", False):
                    log.warning("feed begins anew", extra={**where, "why": str(error)})
                else:
                    log.exception("feed failed; it begins anew", extra=where)
                await asyncio.sleep(pause)
            else:
                return

    async def _work(self) -> None:
        while True:
            # Neither the queue nor a reconcile with nothing to do waits for anything: thousands in
            # a row would keep the event loop from all others.
            await asyncio.sleep(0)
            key = await self.queue.get()
            try:
                await self._reconcile(key)
            except asyncio.CancelledError:
                self.queue.add(key)  # for a further run: of what is gone, nothing else tells then
                raise
            finally:
                self.queue.done(key)

    async def _reconcile(self, key: ObjectKey) -> None:
        try:
            result = await self._reconciler.reconcile(key)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is logged and tried again
            self._fail(key, error)
        else:
            self._conflicts.pop(key, None)
            self._cache.failing.forget(self.name, key)
            self.queue.forget(key)
            if result.requeue_after is not None:
                self.queue.add_after(key, result.requeue_after)

    def _fail(self, key: ObjectKey, raised: Exception) -> None:
        error = first_error(raised)
        if isinstance(error, ConflictError):
            # Somebody wrote first, which is no failure: read again, decide again.
            count = self._conflicts.get(key, 0) + 1
            self._conflicts[key] = count
            if count <= _CONFLICTS_AT_ONCE:
                self.queue.add(key)
                return
        else:
            self._conflicts.pop(key, None)
        level = _level(error)
        if level >= logging.ERROR:
            self._cache.failing.note(self.name, key, str(error) or type(error).__name__)
        else:
            self._cache.failing.forget(self.name, key)
        delay = self.queue.retry(key, asked_delay(error))
        log.log(
            level,
            "reconcile failed",
            extra={"controller": self.name, "key": str(key), "retry_in": delay, "why": str(error)},
            exc_info=raised if level >= logging.ERROR else None,
        )


def _level(error: Exception) -> int:
    if isinstance(error, NotFoundError):
        return logging.INFO  # deleted since it was read: the next run finds that out
    expected = isinstance(error, ConflictError | UnreadableError) or getattr(
        error, "retryable", False
    )
    return logging.WARNING if expected or is_machine_fault(error) else logging.ERROR
