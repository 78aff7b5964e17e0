import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest

from upwell.api.core import ConfigMap
from upwell.api.meta import ObjectKey, ObjectMeta, Resource
from upwell.controller import Backoff, Controller, Result, Watch
from upwell.store.interface import (
    EVERYTHING,
    ConflictError,
    ExpiredError,
    Selector,
    UnavailableError,
    WatchEvent,
)
from upwell.store.memory import MemoryStore


class Recorder:
    """A reconciler that notes what it is called with, and answers as it is told."""

    def __init__(self, answer: Callable[[int], Result] = lambda _: Result()) -> None:
        self.seen: list[str] = []
        self.running = 0
        self.most_at_once = 0
        self._answer = answer
        self._changed = asyncio.Condition()

    async def reconcile(self, key: ObjectKey) -> Result:
        self.running += 1
        self.most_at_once = max(self.most_at_once, self.running)
        try:
            await asyncio.sleep(0)
            async with self._changed:
                self.seen.append(key.name)
                self._changed.notify_all()
            return self._answer(len(self.seen))
        finally:
            self.running -= 1

    async def until(self, reached: Callable[[list[str]], bool]) -> None:
        async with asyncio.timeout(5), self._changed:
            await self._changed.wait_for(lambda: reached(self.seen))


class BreakingStore(MemoryStore):
    """Raises what it is told to from a watch, after its first events."""

    def __init__(self, *errors: Exception, after: int = 0) -> None:
        super().__init__(_now)
        self.errors = list(errors)
        self._after = after

    async def watch[R: Resource](
        self, kind: type[R], selector: Selector = EVERYTHING, *, since: str = ""
    ) -> AsyncGenerator[WatchEvent[R]]:
        count = 0
        async for event in super().watch(kind, selector, since=since):
            if self.errors and count == self._after:
                raise self.errors.pop()
            count += 1
            yield event


def _now() -> datetime:
    return datetime.now(UTC)


def item(name: str) -> ConfigMap:
    return ConfigMap(metadata=ObjectMeta(name=name, namespace="n"))


@asynccontextmanager
async def running(
    recorder: Recorder, store: MemoryStore, watch: Watch | None = None
) -> AsyncIterator[Controller]:
    backoff = Backoff(first=0.01, jitter=lambda: 0.0)
    watches = [watch or Watch(ConfigMap)]
    controller = Controller("test", recorder, store, watches, backoff=backoff)
    task = asyncio.create_task(controller.run())
    try:
        yield controller
    finally:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_what_exists_and_what_comes_is_reconciled() -> None:
    store, recorder = MemoryStore(_now), Recorder()
    await store.create(item("before"))

    async with running(recorder, store):
        await recorder.until(lambda seen: "before" in seen)
        await store.create(item("after"))
        await recorder.until(lambda seen: "after" in seen)


async def test_a_deletion_is_reconciled() -> None:
    store, recorder = MemoryStore(_now), Recorder()
    await store.create(item("a"))

    async with running(recorder, store):
        await recorder.until(lambda seen: seen == ["a"])
        await store.delete(ConfigMap, "n", "a")
        await recorder.until(lambda seen: seen == ["a", "a"])


async def test_a_change_may_concern_other_objects() -> None:
    async def both(resource: Resource) -> Iterable[ObjectKey]:
        return (ObjectKey("Other", "n", f"{resource.name}-{side}") for side in ("left", "right"))

    store, recorder = MemoryStore(_now), Recorder()
    await store.create(item("a"))

    async with running(recorder, store, Watch(ConfigMap, both)):
        await recorder.until(lambda seen: set(seen) == {"a-left", "a-right"})


async def test_a_failure_is_retried_with_backoff(caplog: pytest.LogCaptureFixture) -> None:
    def fail_twice(call: int) -> Result:
        if call <= 2:
            raise ValueError("broken")
        return Result()

    store, recorder = MemoryStore(_now), Recorder(fail_twice)
    await store.create(item("a"))

    async with running(recorder, store) as controller:
        await recorder.until(lambda seen: len(seen) == 3)
        await store.create(item("b"))
        await recorder.until(lambda seen: "b" in seen)
        assert controller.queue.failures(ObjectKey("ConfigMap", "n", "a")) == 0
    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR"]


async def test_a_conflict_is_tried_again_at_once_and_is_no_failure(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def conflict_once(call: int) -> Result:
        if call == 1:
            raise ConflictError(ObjectKey("ConfigMap", "n", "a"))
        return Result()

    store, recorder = MemoryStore(_now), Recorder(conflict_once)
    await store.create(item("a"))

    async with running(recorder, store):
        await recorder.until(lambda seen: len(seen) == 2)
    assert caplog.records == []


async def test_conflicts_without_end_are_slowed_down_and_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def conflict(call: int) -> Result:
        if call <= 8:
            raise ConflictError(ObjectKey("ConfigMap", "n", "a"))
        if call == 10:
            raise ConflictError(ObjectKey("ConfigMap", "n", "a"))
        return Result(0 if call == 9 else None)

    store, recorder = MemoryStore(_now), Recorder(conflict)
    await store.create(item("a"))

    async with running(recorder, store):
        await recorder.until(lambda seen: len(seen) == 11)
    told = [(record.levelname, record.__dict__["retry_in"]) for record in caplog.records]
    assert told == [("WARNING", 0.01), ("WARNING", 0.02), ("WARNING", 0.04)]
    assert "it has changed since it was read" in caplog.records[0].__dict__["why"]


async def test_an_expected_failure_is_one_warning_without_traceback(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail_once(call: int) -> Result:
        if call == 1:
            raise UnavailableError("the disk is full")
        return Result()

    store, recorder = MemoryStore(_now), Recorder(fail_once)
    await store.create(item("a"))

    async with running(recorder, store):
        await recorder.until(lambda seen: len(seen) == 2)
    (record,) = caplog.records
    assert (record.levelname, record.exc_info) == ("WARNING", None)


async def test_a_result_may_ask_to_come_again() -> None:
    def again_once(call: int) -> Result:
        return Result(requeue_after=0.01 if call == 1 else None)

    store, recorder = MemoryStore(_now), Recorder(again_once)
    await store.create(item("a"))

    async with running(recorder, store):
        await recorder.until(lambda seen: seen == ["a", "a"])


async def test_one_key_is_never_worked_on_twice_at_a_time() -> None:
    store, recorder = MemoryStore(_now), Recorder()
    made = await store.create(item("a"))

    async with running(recorder, store):
        for number in range(20):
            made = await store.update(made.with_metadata(labels={"n": str(number)}))
        await recorder.until(lambda seen: len(seen) > 1)
    assert recorder.most_at_once == 1


async def test_a_history_that_expired_is_listed_anew() -> None:
    store, recorder = BreakingStore(ExpiredError("1"), after=0), Recorder()
    await store.create(item("a"))

    async with running(recorder, store):
        await recorder.until(lambda seen: "a" in seen)
        await store.create(item("b"))  # this event is lost with the watch
        await recorder.until(lambda seen: "b" in seen)
    assert store.errors == []


async def test_a_watch_that_broke_goes_on_where_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("upwell.controller.watching._WATCH_PAUSE", 0.01)
    store, recorder = BreakingStore(UnavailableError("gone"), after=1), Recorder()

    async with running(recorder, store):
        for name in ("z", "y", "x"):
            await store.create(item(name))
        await recorder.until(lambda seen: {"x", "y", "z"} <= set(seen))
    assert store.errors == []
    assert sorted(recorder.seen) == ["x", "y", "z"]


async def test_objects_whose_mapping_failed_are_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("upwell.controller.watching._WATCH_PAUSE", 0.01)
    failures = [UnavailableError("gone")]

    async def mapped(resource: Resource) -> Iterable[ObjectKey]:
        if resource.name == "b" and failures:
            raise failures.pop()
        return (resource.key,)

    store, recorder = MemoryStore(_now), Recorder()
    # In the order of names the newest comes first: no position to go on from.
    for name in ("c", "b", "a"):
        await store.create(item(name))

    async with running(recorder, store, Watch(ConfigMap, mapped)):
        await recorder.until(lambda seen: {"a", "b", "c"} <= set(seen))


async def test_keys_may_come_from_elsewhere() -> None:
    async def keys() -> AsyncIterator[ObjectKey]:
        yield ObjectKey("ConfigMap", "n", "told")

    recorder = Recorder()
    async with running(recorder, MemoryStore(_now)) as controller:
        await controller.feed(keys())
        await recorder.until(lambda seen: seen == ["told"])
