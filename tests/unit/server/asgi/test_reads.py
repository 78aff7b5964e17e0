"""Sizes of the reads of bodies, and what they have brought."""

import asyncio
from pathlib import Path

import pytest
from tests.support.server.guarded_server import HOST, guarded_server, statuses

from upwell.server.asgi.connections import ConnectionLimits
from upwell.server.asgi.reads import (
    LEAST_BYTES,
    MOST_BYTES,
    MOST_CHUNKED_BYTES,
    MOST_LARGER_BYTES,
    BodyPieces,
    next_size,
)


@pytest.mark.parametrize(
    ("size", "received", "chunked", "expected"),
    [
        (LEAST_BYTES, LEAST_BYTES, False, 2 * LEAST_BYTES),
        (MOST_BYTES, MOST_BYTES, False, MOST_BYTES),
        (MOST_CHUNKED_BYTES, MOST_CHUNKED_BYTES, True, MOST_CHUNKED_BYTES),
        (MOST_BYTES, MOST_BYTES // 2, False, MOST_BYTES),
        (MOST_BYTES, MOST_BYTES // 2, True, MOST_CHUNKED_BYTES),
        (MOST_BYTES, 100, False, LEAST_BYTES),
    ],
)
def test_who_fills_a_read_is_read_more_from(
    size: int, received: int, *, chunked: bool, expected: int
) -> None:
    assert next_size(size, received, chunked=chunked) == expected


def test_a_body_is_its_pieces() -> None:
    body = BodyPieces()
    assert (len(body), bytes(body)) == (0, b"")
    piece = b"one"
    body += piece
    assert bytes(body) is piece
    body += b" two"
    assert (len(body), bytes(body)) == (7, b"one two")


async def test_a_body_that_comes_fast_is_read_in_few_pieces(tmp_path: Path) -> None:
    content = bytes(range(256)) * (8 * MOST_BYTES // 256)
    head = b"POST /a HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n\r\n" % len(content)
    async with guarded_server(tmp_path, ConnectionLimits()) as server:
        reads = server.table.larger_reads
        reader, writer = await server.connect()
        for _ in range(2):
            writer.write(head + content)
            async with asyncio.timeout(60):
                assert statuses(await reader.readuntil(b"ok")) == [200]
        assert server.app.seen == [("POST", "/a", content)] * 2
        writer.close()
        await server.until(lambda: server.table.count == 0)
        room = reads.resized(LEAST_BYTES, 2 * MOST_LARGER_BYTES) - LEAST_BYTES
        assert room == MOST_LARGER_BYTES
