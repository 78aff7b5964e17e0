"""Sizes of the writes of blobs, by how fast a client sends them."""

from collections.abc import AsyncIterator

import pytest

from upwell.registry.embedded.writing import (
    LEAST_BYTES,
    MOST_BYTES,
    MOST_LARGER_BYTES,
    BlobWrites,
)

PIECE = bytes(64 * 1024)
AT_ONCE, LATE = 0.0, 2.0


class SendingClock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    async def body(self, *seconds: float) -> AsyncIterator[bytes]:
        """Yield a mebibyte after another, each within so many seconds."""
        for taken in seconds:
            for _ in range(16):
                self.now += taken / 16
                yield PIECE


async def sizes(writes: BlobWrites, body: AsyncIterator[bytes]) -> list[int]:
    return [sum(map(len, batch)) async for batch in writes.batches(body)]


async def test_who_sends_fast_is_written_in_larger_batches() -> None:
    clock = SendingClock()
    found = await sizes(BlobWrites(clock), clock.body(*[AT_ONCE] * 4))
    assert found[:4] == [LEAST_BYTES, 2 * LEAST_BYTES, MOST_BYTES, MOST_BYTES]
    assert sum(found) == 4 * MOST_BYTES


async def test_who_turns_slow_is_written_in_small_ones_again() -> None:
    clock = SendingClock()
    found = await sizes(BlobWrites(clock), clock.body(AT_ONCE, AT_ONCE, LATE, LATE))
    assert MOST_BYTES in found
    assert found[-2:] == [LEAST_BYTES, LEAST_BYTES]
    assert sum(found) == 4 * MOST_BYTES


async def test_all_clients_share_the_memory_for_larger_batches() -> None:
    clock = SendingClock()
    writes = BlobWrites(clock)
    held = []
    for _ in range(MOST_LARGER_BYTES // (MOST_BYTES - LEAST_BYTES) + 1):
        batches = writes.batches(clock.body(*[AT_ONCE] * 4))
        for _ in range(3):
            await anext(batches)
        await anext(batches)
        held.append(batches)
    late = await sizes(writes, clock.body(AT_ONCE, AT_ONCE))
    assert max(late) < MOST_BYTES
    for batches in held:
        await batches.aclose()
    assert max(await sizes(writes, clock.body(*[AT_ONCE] * 4))) == MOST_BYTES


async def test_what_came_before_a_failure_is_written() -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield PIECE
        raise OSError("gone")

    batches = BlobWrites().batches(broken())
    assert await anext(batches) == [PIECE]
    with pytest.raises(OSError, match="gone"):
        await anext(batches)
