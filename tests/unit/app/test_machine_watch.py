"""Watches of disk and clock: what they report, and what is tried again when a fault is over."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from upwell.api.meta import ObjectKey
from upwell.app.machine_watch import retry_after_recovery, watch_clock, watch_disk
from upwell.controller import Backoff, Controller, ObjectCache, Result, WorkQueue
from upwell.machine.clock import SteadyClock
from upwell.machine.components import Components, ComponentState
from upwell.machine.disk import DiskSpace
from upwell.store.memory import MemoryStore

KEY = ObjectKey("Build", "default", "app-1")


@asynccontextmanager
async def running(loop: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    task = asyncio.create_task(loop)
    try:
        yield
    finally:
        task.cancel()


async def state(components: Components, holds: Callable[[ComponentState], bool]) -> ComponentState:
    async with asyncio.timeout(30):
        async for states in components.changes():
            if states and holds(states[0]):
                return states[0]
    raise AssertionError


async def test_a_disk_below_its_floor_is_a_fault_of_storage(tmp_path: Path) -> None:
    facts = os.statvfs(tmp_path)
    size = facts.f_blocks * facts.f_frsize
    components = Components()
    async with running(watch_disk(DiskSpace([tmp_path], floor=2 * size), components)):
        found = await state(components, lambda one: one.faulty)

    assert (found.name, found.reason, found.required) == ("storage", "DiskPressure", True)
    assert str(tmp_path) in found.message


async def test_a_clock_that_jumped_is_said_with_what_is_done() -> None:
    wall, passed = [1_800_000_000.0], [100.0]
    clock, components = SteadyClock(lambda: wall[0], lambda: passed[0]), Components()
    wall[0] += 86_400
    async with running(watch_clock(clock, components)):
        found = await state(components, lambda one: one.faulty)
        assert (found.name, found.reason, found.required) == ("clock", "ClockJumped", False)
        assert "24h ahead of" in found.message
        assert "taken over at 2027-01-16 09:00:00 UTC" in found.message
        assert "timedatectl" in found.message

        wall[0] -= 86_400
        assert not (await state(components, lambda one: not one.faulty)).message


async def test_what_failed_is_tried_again_when_a_fault_is_over() -> None:
    class Idle:
        async def reconcile(self, _: ObjectKey) -> Result:
            return Result()

    queue = WorkQueue[ObjectKey](Backoff(first=3600))
    cache = ObjectCache(MemoryStore(clock=lambda: None))  # type: ignore[arg-type,return-value]
    controller = Controller("builds", Idle(), cache, [], queue=queue)
    components = Components()
    storage = components.add("storage")
    queue.retry(KEY)
    async with running(retry_after_recovery(components, [controller])):
        await asyncio.sleep(0)
        storage.fail("DiskPressure", "full")
        await asyncio.sleep(0)
        assert queue.failures(KEY) == 1
        storage.recover()
        async with asyncio.timeout(30):
            assert await queue.get() == KEY
