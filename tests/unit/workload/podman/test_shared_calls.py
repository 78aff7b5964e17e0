import asyncio

import pytest

from upwell.workload.podman.shared_calls import SharedCall


class CountedCall:
    """A call whose runs end when they are let; the answer is the number of the run."""

    def __init__(self) -> None:
        self.runs = 0
        self.fails = 0
        self.begun = asyncio.Event()
        self.may_end = asyncio.Semaphore(0)

    async def __call__(self) -> int:
        self.runs += 1
        self.begun.set()
        number = self.runs
        await self.may_end.acquire()
        if number == self.fails:
            raise OSError(number)
        return number


async def test_who_asks_during_a_run_shares_the_next_one() -> None:
    counted = CountedCall()
    shared = SharedCall(counted)
    first = asyncio.ensure_future(shared())
    await counted.begun.wait()
    later = [asyncio.ensure_future(shared()) for _ in range(3)]
    await asyncio.sleep(0)
    counted.may_end.release()
    assert await first == 1
    counted.may_end.release()
    assert await asyncio.gather(*later) == [2, 2, 2]


async def test_nobody_gets_an_answer_from_before_they_asked() -> None:
    counted = CountedCall()
    shared = SharedCall(counted)
    for number in (1, 2):
        counted.may_end.release()
        assert await shared() == number


@pytest.mark.parametrize("cancels", [True, False])
async def test_a_run_that_does_not_end_well_is_nobody_elses(*, cancels: bool) -> None:
    counted = CountedCall()
    counted.fails = 1
    shared = SharedCall(counted)
    first = asyncio.ensure_future(shared())
    await counted.begun.wait()
    later = [asyncio.ensure_future(shared()) for _ in range(2)]
    await asyncio.sleep(0)
    if cancels:
        first.cancel()
    else:
        counted.may_end.release()
    with pytest.raises((OSError, asyncio.CancelledError)):
        await first
    counted.may_end.release()
    assert await asyncio.gather(*later) == [2, 2]
