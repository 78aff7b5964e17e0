"""Supervision of a router in memory: what was disrupted is restored, and again until it is."""

import asyncio

from tests.support.rollouts.memory_machine import FakeRouter, FakeRuntime, MemoryClock
from tests.support.workload.waiting import DEADLINE_SECONDS, eventually

from upwell.controller import ObjectCache
from upwell.reconcilers.rollouts import RolloutPorts, Traffic
from upwell.reconcilers.rollouts.traffic import ROUTER_KEY
from upwell.reconcilers.routing.supervision import RETRIES, router_supervision_controller
from upwell.router.interface import Backend, RouterDownError, RoutingTable
from upwell.store.memory import MemoryStore

TABLE = RoutingTable((Backend("web", ()),))


async def test_the_last_table_is_restored_and_the_ordinary_one_asked_for() -> None:
    clock = MemoryClock()
    router, traffic = FakeRouter(), Traffic(clock)
    machine = RolloutPorts(FakeRuntime(clock), router, traffic)
    controller = router_supervision_controller(ObjectCache(MemoryStore(clock)), machine)
    await router.apply(TABLE)

    async def table() -> RoutingTable:
        return router.table

    async def failures() -> int:
        return controller.queue.failures(ROUTER_KEY)

    running = asyncio.create_task(controller.run())
    try:
        router.refusal = RouterDownError("haproxy: not found; apt install haproxy")
        router.disrupt("haproxy has ended")
        await eventually(failures, lambda count: count >= 2)
        router.refusal = None
        await eventually(table, lambda found: found == TABLE)
        async with asyncio.timeout(DEADLINE_SECONDS):
            assert await anext(traffic.for_routing.keys()) == ROUTER_KEY
    finally:
        running.cancel()
        await asyncio.wait([running])


def test_a_router_that_is_down_is_tried_again_within_seconds_for_ever() -> None:
    assert all(RETRIES.delay(failures) <= 5 for failures in range(1, 1000))
