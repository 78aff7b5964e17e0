"""Ends of tasks, which free what was in hand without waiting for the garbage collector."""

import asyncio
import gc
import weakref

from upwell.machine.tasks import let_go, together


class Large:
    """Memory of somebody's."""


async def test_what_a_cancelled_task_had_in_hand_goes_at_once() -> None:
    seen: list[weakref.ref[Large]] = []

    async def work(others: list[asyncio.Task[None]]) -> None:
        large = Large()
        seen.append(weakref.ref(large))
        await asyncio.Event().wait()
        del large, others

    async def serve() -> None:
        tasks: list[asyncio.Task[None]] = []
        tasks.append(asyncio.create_task(work(tasks)))  # a circle
        await asyncio.sleep(0)
        tasks[0].cancel()
        await asyncio.wait(tasks)
        assert seen[0]() is not None
        let_go(tasks[0])

    gc.disable()
    try:
        await serve()
        assert seen[0]() is None
    finally:
        gc.enable()


async def test_work_that_is_alone_is_done_without_a_task() -> None:
    async def task() -> asyncio.Task[object] | None:
        return asyncio.current_task()

    assert await together([task()]) == [asyncio.current_task()]
    assert asyncio.current_task() not in await together([task(), task()])
    assert await together([]) == []
