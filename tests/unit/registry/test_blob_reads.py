"""Sizes of the reads of blobs, by how fast a client takes what was read."""

import io
from contextlib import aclosing

import pytest

from upwell.registry.embedded.reading import (
    LEAST_BYTES,
    MOST_BYTES,
    MOST_LARGER_BYTES,
    BlobReads,
)
from upwell.registry.hosting import StorageError

CONTENT = bytes(range(256)) * (8 * MOST_BYTES // 256)
AT_ONCE, SOON_ENOUGH, LATE = 0.0, 0.2, 2.0


class PaceClock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


async def sizes(reads: BlobReads, clock: PaceClock, *seconds: float) -> list[int]:
    """Return the sizes of the first pieces for a client that takes each in so many seconds."""
    found = []
    chunks = reads.chunks("team/app", io.BytesIO(CONTENT).read, len(CONTENT))
    async with aclosing(chunks):
        for taken in seconds:
            found.append(len(await anext(chunks)))
            clock.now += taken
    return found


async def test_all_bytes_come_in_order_and_no_more_than_were_asked_for() -> None:
    asked = len(CONTENT) - 12_345
    source = io.BytesIO(CONTENT)

    found = [chunk async for chunk in BlobReads().chunks("team/app", source.read, asked)]

    assert b"".join(found) == CONTENT[:asked]
    assert len(found) < asked / LEAST_BYTES / 4, "a client that is fast takes many small pieces"


async def test_who_is_fast_gets_larger_pieces_until_they_are_slow() -> None:
    clock = PaceClock()

    found = await sizes(
        BlobReads(clock), clock, *[AT_ONCE] * 4, SOON_ENOUGH, LATE, AT_ONCE, AT_ONCE
    )

    grown = [LEAST_BYTES, 2 * LEAST_BYTES, 4 * LEAST_BYTES]
    assert found == [*grown, MOST_BYTES, MOST_BYTES, MOST_BYTES, *grown[:2]]


async def test_all_together_hold_no_more_memory_than_there_is_for_them() -> None:
    clock = PaceClock()
    reads = BlobReads(clock)
    held: list[int] = []
    pulls = [reads.chunks("team/app", io.BytesIO(CONTENT).read, len(CONTENT)) for _ in range(40)]
    for pull in pulls:  # each reads on until its pieces are as large as they get
        for _ in range(5):
            last = len(await anext(pull))
        held.append(last)

    assert sum(held) <= MOST_LARGER_BYTES + len(pulls) * LEAST_BYTES
    assert held[0] == MOST_BYTES
    assert held[-1] == LEAST_BYTES, "no pull is refused for it"

    for pull in pulls:
        await pull.aclose()
    assert (await sizes(reads, clock, *[AT_ONCE] * 4))[-1] == MOST_BYTES, (
        "memory was not given back"
    )


async def test_memory_is_given_back_after_a_failure_too() -> None:
    clock = PaceClock()
    reads = BlobReads(clock)

    def fail(size: int) -> bytes:
        if size > LEAST_BYTES:
            raise OSError(5, "Input/output error")
        return bytes(size)

    for _ in range(2 * MOST_LARGER_BYTES // LEAST_BYTES):
        with pytest.raises(StorageError, match="Input/output error"):
            [_ async for _ in reads.chunks("team/app", fail, MOST_BYTES)]

    assert (await sizes(reads, clock, *[AT_ONCE] * 4))[-1] == MOST_BYTES
