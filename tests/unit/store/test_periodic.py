"""Work that is repeated, whatever the store answers."""

import asyncio
import logging

import pytest

from upwell.store.interface import UnavailableError
from upwell.store.periodic import repeat


async def test_work_goes_on_after_an_error_of_the_store(caplog: pytest.LogCaptureFixture) -> None:
    looks, enough = 0, asyncio.Event()

    async def look() -> None:
        nonlocal looks
        looks += 1
        if looks == 1:
            raise UnavailableError("the store is away")
        enough.set()

    with caplog.at_level(logging.WARNING):
        task = asyncio.create_task(repeat(look, 0.001, "not looked at"))
        await asyncio.wait_for(enough.wait(), 30)
        task.cancel()
        await asyncio.wait([task])
    assert task.cancelled()
    assert [record.message for record in caplog.records] == ["not looked at"]


async def test_any_other_error_is_raised() -> None:
    async def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await asyncio.wait_for(repeat(fail, 3600, "not looked at"), 30)
