"""Runs of a controller: the keys that reach it, their order, retries and errors."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest

from upwell.api.core import ConfigMap
from upwell.api.meta import ObjectKey, ObjectMeta, Resource
from upwell.controller import (
    Controller,
    ObjectCache,
    Result,
    Watch,
    WorkQueue,
    of_both,
    same_key,
)
from upwell.machine.backoff import Backoff
from upwell.store.interface import (
    EVERYTHING,
    ConflictError,
    ExpiredError,
    Listing,
    NotFoundError,
    Selector,
    UnavailableError,
    WatchEvent,
    WatchProgress,
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
        async with asyncio.timeout(30), self._changed:
            await self._changed.wait_for(lambda: reached(self.seen))


class BreakingStore(MemoryStore):
    """Raises what it is told to from a list, or from a watch after its first events."""

    def __init__(
        self, *errors: Exception, after: int = 0, list_errors: Iterable[Exception] = ()
    ) -> None:
        super().__init__(_now)
        self.errors = list(errors)
        self._list_errors = list(list_errors)
        self._after = after

    async def list[R: Resource](self, kind: type[R], selector: Selector = EVERYTHING) -> Listing[R]:
        if self._list_errors:
            raise self._list_errors.pop()
        return await super().list(kind, selector)

    async def watch[R: Resource](
        self,
        kind: type[R],
        selector: Selector = EVERYTHING,
        *,
        since: str = "",
        progress: WatchProgress | None = None,
    ) -> AsyncGenerator[WatchEvent[R]]:
        count = 0
        async for event in super().watch(kind, selector, since=since, progress=progress):
            if self.errors and count == self._after:
                raise self.errors.pop()
            count += 1
            yield event


def _now() -> datetime:
    return datetime.now(UTC)


def item(name: str) -> ConfigMap:
    return ConfigMap(metadata=ObjectMeta(name=name, namespace="n"))


class ControlledStore:
    """A cache of a store, and the controllers that it feeds."""

    def __init__(self, store: MemoryStore | None = None) -> None:
        self.store = MemoryStore(_now) if store is None else store
        self.cache = ObjectCache(self.store)

    def controller(
        self, recorder: Recorder, *watches: Watch[ConfigMap], **settings: Any
    ) -> Controller:
        backoff = Backoff(first=0.01, jitter=lambda: 0.0)
        told = watches or (Watch(ConfigMap),)
        return Controller("test", recorder, self.cache, told, backoff=backoff, **settings)

    @asynccontextmanager
    async def running(self, *controllers: Controller) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(self.cache.run())]
        tasks += [asyncio.create_task(one.run()) for one in controllers]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            for task in tasks:
                with pytest.raises(asyncio.CancelledError):
                    await task


@asynccontextmanager
async def running(
    recorder: Recorder, store: MemoryStore, *watches: Watch[ConfigMap], **settings: Any
) -> AsyncIterator[Controller]:
    controlled = ControlledStore(store)
    controller = controlled.controller(recorder, *watches, **settings)
    async with controlled.running(controller):
        yield controller


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
    def both(_: ConfigMap | None, after: ConfigMap | None) -> Iterable[ObjectKey]:
        name = after.name if after is not None else ""
        return (ObjectKey("Other", "n", f"{name}-{side}") for side in ("left", "right"))

    store, recorder = MemoryStore(_now), Recorder()
    await store.create(item("a"))

    async with running(recorder, store, Watch(ConfigMap, both)):
        await recorder.until(lambda seen: set(seen) == {"a-left", "a-right"})


async def test_a_change_may_concern_what_the_state_before_it_named() -> None:
    def colors(found: ConfigMap) -> Iterable[ObjectKey]:
        return (ObjectKey("Color", "", color) for color in found.data.values())

    store, recorder = MemoryStore(_now), Recorder()
    async with running(recorder, store, Watch(ConfigMap, of_both(colors))):
        made = await store.create(item("a").model_copy(update={"data": {"color": "blue"}}))
        await recorder.until(lambda seen: seen == ["blue"])
        await store.update(made.model_copy(update={"data": {"color": "red"}}))
        await recorder.until(lambda seen: seen == ["blue", "blue", "red"])
        await store.delete(ConfigMap, "n", "a")
        await recorder.until(lambda seen: seen == ["blue", "blue", "red", "red"])


async def test_every_state_is_mapped_in_order_once_the_cache_has_it() -> None:
    controlled, recorder = ControlledStore(), Recorder()
    told: list[tuple[str, str, str]] = []

    def note(before: ConfigMap | None, after: ConfigMap | None) -> Iterable[ObjectKey]:
        shown = controlled.cache.get(ConfigMap, "n", "a")
        states = (before, after, shown)
        old, new, now = (state.data["color"] if state is not None else "" for state in states)
        told.append((old, new, now))
        return ()

    async with controlled.running(controlled.controller(recorder, Watch(ConfigMap, note))):
        await controlled.cache.ready(ConfigMap)
        made = await controlled.store.create(
            item("a").model_copy(update={"data": {"color": "blue"}})
        )
        for color in ("red", "grey"):
            changed = made.model_copy(update={"data": {"color": color}})
            made = await controlled.store.update(
                changed.with_metadata(resource_version=made.resource_version)
            )
        await controlled.cache.wait_for(made)
    assert told == [("", "blue", "blue"), ("blue", "red", "red"), ("red", "grey", "grey")]


async def test_a_mapping_that_fails_takes_no_change_from_others_and_is_tried_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    faults = [ValueError("broken"), ValueError("broken")]

    def broken(before: ConfigMap | None, after: ConfigMap | None) -> Iterable[ObjectKey]:
        if faults:
            raise faults.pop()
        return same_key(before, after)

    controlled, recorders = ControlledStore(), (Recorder(), Recorder())
    faulty = controlled.controller(recorders[0], Watch(ConfigMap, broken))
    async with controlled.running(faulty, controlled.controller(recorders[1])):
        await controlled.store.create(item("a"))
        for recorder in recorders:
            await recorder.until(lambda seen: seen == ["a"])
    told = [(one.getMessage(), vars(one)["key"]) for one in caplog.records]
    assert told == [("change not mapped", str(item("a").key))] * 2


async def test_controllers_share_the_watch_of_a_kind() -> None:
    controlled, recorders = ControlledStore(), [Recorder(), Recorder()]
    async with controlled.running(*map(controlled.controller, recorders)):
        await controlled.store.create(item("a"))
        for recorder in recorders:
            await recorder.until(lambda seen: seen == ["a"])
        assert controlled.store.watches == {"ConfigMap": 1}


async def test_work_begins_when_the_kinds_of_its_watches_are_listed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("upwell.controller.watching._PAUSES", Backoff(first=0.01))
    store = BreakingStore(list_errors=[UnavailableError("gone")])
    controlled = ControlledStore(store)
    listed: list[bool] = []

    def note(_: int) -> Result:
        listed.append(controlled.cache.get(ConfigMap, "n", "a") is not None)
        return Result()

    async def keys() -> AsyncIterator[ObjectKey]:
        yield ObjectKey("ConfigMap", "n", "early")

    recorder = Recorder(note)
    await store.create(item("a"))
    async with controlled.running(controlled.controller(recorder, feeds=(keys,))):
        await recorder.until(lambda seen: set(seen) == {"early", "a"})
    assert listed == [True, True]


async def test_a_lifespan_is_around_all_work() -> None:
    order: list[str] = []

    @asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        order.append("entered")
        try:
            yield
        finally:
            order.append("left")

    def note(_: int) -> Result:
        order.append("worked")
        return Result()

    store, recorder = MemoryStore(_now), Recorder(note)
    await store.create(item("a"))
    async with running(recorder, store, lifespan=lifespan):
        await recorder.until(lambda seen: seen == ["a"])
    assert order == ["entered", "worked", "left"]


async def test_a_reconciler_may_ask_for_work_by_a_queue_of_its_own() -> None:
    queue: WorkQueue[ObjectKey] = WorkQueue()
    recorder = Recorder()
    async with running(recorder, MemoryStore(_now), queue=queue):
        queue.add(ObjectKey("ConfigMap", "n", "asked"))
        await recorder.until(lambda seen: seen == ["asked"])


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


async def test_of_errors_side_by_side_the_first_is_told_and_says_whether_it_was_expected(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail_once(call: int) -> Result:
        if call == 1:
            inner = ExceptionGroup("", [UnavailableError("the disk is full")])
            raise ExceptionGroup("unhandled errors in a TaskGroup", [inner])
        return Result()

    store, recorder = MemoryStore(_now), Recorder(fail_once)
    await store.create(item("a"))

    async with running(recorder, store):
        await recorder.until(lambda seen: len(seen) == 2)
    (record,) = caplog.records
    assert (record.levelname, record.exc_info) == ("WARNING", None)
    assert record.__dict__["why"] == "the disk is full"


async def test_an_object_that_was_deleted_meanwhile_is_no_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def deleted_once(call: int) -> Result:
        if call == 1:
            raise NotFoundError(ObjectKey("ConfigMap", "n", "a"))
        return Result()

    store, recorder = MemoryStore(_now), Recorder(deleted_once)
    await store.create(item("a"))

    with caplog.at_level("INFO"):
        async with running(recorder, store):
            await recorder.until(lambda seen: len(seen) == 2)
    (record,) = [one for one in caplog.records if one.message == "reconcile failed"]
    assert (record.levelname, record.exc_info) == ("INFO", None)


async def test_a_result_may_ask_to_come_again() -> None:
    def again_once(call: int) -> Result:
        return Result(requeue_after=0.01 if call == 1 else None)

    store, recorder = MemoryStore(_now), Recorder(again_once)
    await store.create(item("a"))

    async with running(recorder, store):
        await recorder.until(lambda seen: seen == ["a", "a"])


async def test_work_that_waits_for_nothing_lets_others_go_on() -> None:
    class WaitsForNothing:
        done = 0

        async def reconcile(self, key: ObjectKey) -> Result:
            del key
            self.done += 1
            return Result()

    store, reconciler = MemoryStore(_now), WaitsForNothing()
    for number in range(100):
        await store.create(item(f"item{number}"))
    cache = ObjectCache(store)
    controller = Controller("at once", reconciler, cache, [Watch(ConfigMap)], workers=4)
    work = asyncio.create_task(controller.run())
    most = 0
    while reconciler.done < 100:
        before = reconciler.done
        await asyncio.sleep(0)
        most = max(most, reconciler.done - before)
    work.cancel()
    await asyncio.wait({work})
    assert most == 4  # one of each worker


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
    monkeypatch.setattr("upwell.controller.watching._PAUSES", Backoff(first=0.01))
    store, recorder = BreakingStore(UnavailableError("gone"), after=1), Recorder()

    async with running(recorder, store):
        for name in ("z", "y", "x"):
            await store.create(item(name))
        await recorder.until(lambda seen: {"x", "y", "z"} <= set(seen))
    assert store.errors == []
    assert sorted(recorder.seen) == ["x", "y", "z"]


async def test_keys_may_come_from_elsewhere() -> None:
    async def keys() -> AsyncIterator[ObjectKey]:
        yield ObjectKey("ConfigMap", "n", "told")

    recorder = Recorder()
    async with running(recorder, MemoryStore(_now), feeds=(keys,)):
        await recorder.until(lambda seen: seen == ["told"])


async def test_a_feed_that_fails_begins_anew_and_ends_no_work(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("upwell.controller.runner._FEED_PAUSES", Backoff(first=0.01))
    group = ExceptionGroup("group", [ValueError("one")])
    faults: list[Exception] = [OSError(28, "disk full"), KeyError("x"), group]

    async def keys() -> AsyncIterator[ObjectKey]:
        yield ObjectKey("ConfigMap", "n", f"told-{len(faults)}")
        if faults:
            raise faults.pop(0)
        await asyncio.Event().wait()

    async def others() -> AsyncIterator[ObjectKey]:
        yield ObjectKey("ConfigMap", "n", "other")

    store, recorder = MemoryStore(_now), Recorder()
    async with running(recorder, store, feeds=(keys, others)):
        await recorder.until(lambda seen: "told-0" in seen)
        await store.create(item("a"))
        await recorder.until(lambda seen: "a" in seen)
    assert recorder.seen == ["told-3", "other", "told-2", "told-1", "told-0", "a"]
    failed = [one for one in caplog.records if one.message == "feed failed; it begins anew"]
    assert len(failed) == 3
    assert all(one.exc_info for one in failed)


async def test_a_further_run_looks_at_every_object_and_at_what_was_cut_short() -> None:
    store = MemoryStore(_now)
    await store.create(item("kept"))
    cut = await store.create(item("cut"))
    begun, held = asyncio.Event(), asyncio.Event()

    class Held(Recorder):
        async def reconcile(self, key: ObjectKey) -> Result:
            if key.name == "cut" and not held.is_set():
                begun.set()
                await held.wait()
            return await super().reconcile(key)

    recorder = Held()
    cache = ObjectCache(store)
    controller = Controller("further", recorder, cache, [Watch(ConfigMap)])
    caching = asyncio.create_task(cache.run())
    try:
        first = asyncio.create_task(controller.run())
        await begun.wait()
        await recorder.until(lambda seen: seen == ["kept"])
        first.cancel()
        await asyncio.wait({first})
        await store.delete(ConfigMap, cut.namespace, "cut")  # nothing tells of it any more
        held.set()

        further = asyncio.create_task(controller.run())
        await recorder.until(lambda seen: sorted(seen) == ["cut", "kept", "kept"])
        further.cancel()
        await asyncio.wait({further})
    finally:
        caching.cancel()
        await asyncio.wait({caching})
