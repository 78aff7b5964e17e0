"""Loops of the server: one that fails begins anew, and ends with the server alone."""

import asyncio
import errno

import pytest

from upwell.app.supervision import keep_running


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
    assert pauses[0] <= 1.0
    assert "loop failed; it begins anew" in caplog.text
    assert "No space left on device" in caplog.text
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_loop_that_has_done_its_work_is_over() -> None:
    async def loop() -> None:
        return

    await keep_running(loop)
