"""Reports become objects, also when the store refuses for a while; events and notices follow."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest
from tests.support.clocks import TickingClock

from upwell.api.cluster_operator import ClusterOperator
from upwell.api.core import Event
from upwell.api.meta import ObjectKey
from upwell.controller import ObjectCache
from upwell.machine.components import Components
from upwell.policy.notifications.cloud_events import audience_of, cloud_events
from upwell.reconcilers.components.reconciler import ComponentReconciler, component_controller
from upwell.reconcilers.notifications.events import EventReconciler
from upwell.store.interface import NotFoundError, UnavailableError
from upwell.store.memory import MemoryStore

DEADLINE = 30.0
KEY = ObjectKey("ClusterOperator", "", "router")


def recent() -> TickingClock:
    """Return a clock that begins an hour ago: only news are told."""
    return TickingClock(datetime.now(UTC) - timedelta(hours=1))


@asynccontextmanager
async def mirrored(
    store: MemoryStore, components: Components, clock: TickingClock
) -> AsyncIterator[None]:
    cache = ObjectCache(store)
    controller = component_controller(components, cache, "1.2.3", clock)
    tasks = [asyncio.create_task(cache.run()), asyncio.create_task(controller.run())]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def until(store: MemoryStore, holds: Callable[[ClusterOperator], bool]) -> ClusterOperator:
    async with asyncio.timeout(DEADLINE):
        async for event in store.watch(ClusterOperator):
            if holds(event.resource):
                return event.resource
    raise AssertionError


async def test_every_report_is_written_into_the_object() -> None:
    clock = recent()
    store, components = MemoryStore(clock), Components(clock)
    router = components.add("router")
    async with mirrored(store, components, clock):
        await until(store, lambda one: bool(one.status.conditions) and one.fault is None)
        router.fail("RouterDown", "haproxy has ended")
        down = await until(store, lambda one: one.fault is not None)
        assert down.fault is not None
        assert down.fault.message == "haproxy has ended"
        router.recover()
        await until(store, lambda one: one.fault is None)


async def test_a_report_that_the_store_refuses_is_written_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    refused = asyncio.Event()

    async def refuse(*_: object) -> None:
        refused.set()
        raise UnavailableError("the disk is full")

    clock = recent()
    store, components = MemoryStore(clock), Components(clock)
    router = components.add("router")
    async with mirrored(store, components, clock):
        await until(store, lambda one: bool(one.status.conditions))
        with monkeypatch.context() as patched:
            patched.setattr(store, "update_status", refuse)
            router.fail("RouterDown", "haproxy has ended")
            async with asyncio.timeout(DEADLINE):
                await refused.wait()
        router.recover()
        late = await until(store, lambda one: bool(one.status.extension.faults))
    assert late.fault is None
    assert [one.message for one in late.status.extension.faults] == ["haproxy has ended"]


async def test_a_fault_whose_message_changes_is_one_event_until_it_comes_back() -> None:
    clock = recent()
    store, components = MemoryStore(clock), Components(clock)
    router = components.add("router")

    async def told() -> list[tuple[int, str]]:
        await EventReconciler(ObjectCache(store), clock).reconcile(KEY)
        found = [
            one for one in (await store.list(Event)).items if one.reason == "ComponentDegraded"
        ]
        return [(one.count, one.message.rpartition(": ")[2]) for one in found]

    async with mirrored(store, components, clock):
        router.fail("KindRefused", "two are refused")
        await until(store, lambda one: one.fault is not None)
        assert await told() == [(1, "two are refused")]
        router.fail("KindRefused", "one is refused")
        await until(store, lambda one: "one is refused" in str(one.fault))
        assert await told() == [(1, "two are refused")]
        router.recover()
        router.fail("KindRefused", "one is refused again")
        await until(store, lambda one: len(one.status.extension.faults) == 2)
        assert await told() == [(2, "one is refused again")]


async def test_a_fault_and_its_end_are_events_of_the_component() -> None:
    clock = recent()
    store, components = MemoryStore(clock), Components(clock)
    router = components.add("router")
    router.fail("RouterDown", "haproxy has ended")
    router.recover()
    async with mirrored(store, components, clock):
        found = await until(store, lambda one: bool(one.status.extension.faults))
    await EventReconciler(ObjectCache(store), clock).reconcile(KEY)

    events = sorted((await store.list(Event)).items, key=lambda one: one.reason)
    assert [(one.type, one.reason, one.message) for one in events] == [
        ("Warning", "ComponentDegraded", "component router is faulty: haproxy has ended"),
        ("Normal", "ComponentRecovered", "component router works again"),
    ]
    notices = list(cloud_events(found))
    assert [(one.type, one.severity) for one in notices] == [
        ("dev.upwell.component.degraded", "error"),
        ("dev.upwell.component.recovered", "info"),
    ]
    assert {one.subject for one in notices} == {"ClusterOperator/router"}
    assert audience_of(found).namespaces is None


async def test_a_component_that_nobody_knows_is_left_alone() -> None:
    clock = recent()
    store, components = MemoryStore(clock), Components(clock)
    await ComponentReconciler(store, components, "1.2.3", clock).reconcile(KEY)
    with pytest.raises(NotFoundError):
        await store.get(ClusterOperator, "", "router")
