"""Loops that fail begin anew, and what failed is tried again when a fault is over."""

import asyncio
import errno

import pytest
from tests.support.component_reports import running

from upwell.api.meta import ObjectKey
from upwell.app.supervision import keep_running, retry_after_recovery
from upwell.controller import Controller, ObjectCache, Result, WorkQueue
from upwell.machine.backoff import Backoff
from upwell.machine.components import Components
from upwell.store.memory import MemoryStore

KEY = ObjectKey("Build", "default", "app-1")


async def test_a_loop_that_fails_begins_anew_and_says_why(caplog: pytest.LogCaptureFixture) -> None:
    faults: list[Exception] = [
        OSError(errno.ENOSPC, "No space left on device"),
        ExceptionGroup("group", [ValueError("one")]),
    ]
    pauses: list[float] = []
    well = asyncio.Event()

    async def loop() -> None:
        if faults:
            raise faults.pop(0)
        well.set()
        await asyncio.Event().wait()

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    task = asyncio.create_task(keep_running(loop, sleep))
    async with asyncio.timeout(30):
        await well.wait()

    assert len(pauses) == 2
    assert pauses[0] <= 1.0 < pauses[1]
    assert "loop failed; it begins anew" in caplog.text
    assert "No space left on device" in caplog.text
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_loop_that_has_done_its_work_is_over() -> None:
    async def loop() -> None:
        return

    await keep_running(loop)


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
