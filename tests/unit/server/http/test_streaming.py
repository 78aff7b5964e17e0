"""Streams: content is taken at once, but never more than a slow reader may leave waiting."""

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from upwell.api.core import ConfigMap
from upwell.api.meta import ObjectMeta
from upwell.server.http.rendering import Rendering
from upwell.server.http.streaming import batched


async def numbers(count: int) -> AsyncIterator[int]:
    for number in range(count):
        yield number


async def test_all_that_is_there_comes_at_once_and_in_order() -> None:
    found = [
        list(items) async for items in batched(numbers(5), asyncio.Event(), tick=None, seconds=None)
    ]
    assert found == [[0, 1, 2, 3, 4]]


async def test_a_source_waits_for_a_slow_reader_and_loses_nothing() -> None:
    given = 0

    async def source() -> AsyncIterator[int]:
        nonlocal given
        async for number in numbers(1000):
            given += 1
            yield number

    seen: list[int] = []
    async for items in batched(source(), asyncio.Event(), tick=None, seconds=None):
        seen += items
        assert given - len(seen) <= 256
    assert seen == list(range(1000))


async def test_what_came_before_a_failure_is_given_first() -> None:
    async def source() -> AsyncIterator[int]:
        yield 1
        raise ConnectionError("gone")

    batches = batched(source(), asyncio.Event(), tick=None, seconds=None)
    assert list(await anext(batches)) == [1]
    with pytest.raises(ConnectionError, match="gone"):
        await anext(batches)


async def test_time_and_a_stop_end_it() -> None:
    async def silent() -> AsyncIterator[int]:
        await asyncio.Event().wait()
        yield 1

    async with asyncio.timeout(30):
        assert [x async for x in batched(silent(), asyncio.Event(), tick=None, seconds=0.01)] == []
        stop = asyncio.Event()
        asyncio.get_running_loop().call_soon(stop.set)
        assert [x async for x in batched(silent(), stop, tick=None, seconds=None)] == []


async def test_an_empty_batch_comes_whenever_nothing_has_for_so_long() -> None:
    more = asyncio.Event()

    async def source() -> AsyncIterator[int]:
        yield 1
        await more.wait()
        yield 2

    batches = batched(source(), asyncio.Event(), tick=0.01, seconds=None)
    async with asyncio.timeout(30):
        assert [list(await anext(batches)) for _ in range(3)] == [[1], [], []]
        more.set()
        while not (items := list(await anext(batches))):
            pass
        assert items == [2]
        await batches.aclose()


class GoneError(Exception):
    """A failure that can be referred to weakly."""


async def test_a_failure_leaves_nothing_to_the_collector() -> None:
    async def source() -> AsyncIterator[int]:
        yield 1
        raise GoneError

    async def read() -> weakref.ref[GoneError] | None:
        try:
            async for _ in batched(source(), asyncio.Event(), tick=None, seconds=None):
                pass
        except GoneError as error:
            return weakref.ref(error)
        return None

    gc.disable()
    try:
        left = await read()
        await asyncio.sleep(0)  # what the event loop has just called is let go
        assert left is not None
        assert left() is None
    finally:
        gc.enable()


def test_a_changed_object_is_never_taken_for_the_one_before() -> None:
    rendering = Rendering(as_table=False, include="", now=datetime.now(UTC))
    for number in range(2000):
        one = ConfigMap(metadata=ObjectMeta(name="one"), data={"n": str(number)})
        assert f'"n":"{number}"'.encode() in bytes(rendering.one(one))
        assert rendering.one(one) == rendering.one(one)
