"""Heads that have begun and do not end: few are read at once, and they are in nobody's way."""

import asyncio
from functools import partial
from pathlib import Path

from tests.support.server.guarded_server import HOST, SECONDS, guarded_server, statuses

from upwell.server.asgi.begun_heads import BegunHeads
from upwell.server.asgi.connections import ConnectionLimits, ConnectionTable, TrackedConnection

WHOLE = b"GET /a HTTP/1.1\r\n" + HOST + b"\r\n"
BEGUN = b"GET /a HTTP/1.1\r\n" + HOST + b"X: " + b"a" * 10_000


def holds(table: ConnectionTable, size: int) -> bool:
    return table.held_bytes >= size


def test_heads_have_their_turns_by_address() -> None:
    heads = BegunHeads(1)
    many = [TrackedConnection("192.0.2.1") for _ in range(4)]
    few = TrackedConnection("192.0.2.2")
    assert heads.begin(many[0])
    assert not any(heads.begin(one) for one in [*many[1:], few])
    assert heads.end(many[0]) is many[1]
    assert heads.end(many[1]) is few
    assert heads.end(few) is many[2]
    assert heads.end(many[2]) is many[3]
    assert heads.end(many[3]) is None
    assert heads.begin(few)


def test_one_that_leaves_has_no_turn() -> None:
    heads = BegunHeads(1)
    first, second, third = (TrackedConnection("192.0.2.1") for _ in range(3))
    heads.begin(first)
    heads.begin(second)
    heads.begin(third)
    heads.leave(second)
    heads.leave(second)
    assert second not in heads
    assert third in heads
    assert heads.end(second) is None  # which was not read
    assert heads.end(first) is third


async def test_few_heads_are_read_and_the_others_wait_in_the_kernel(tmp_path: Path) -> None:
    async with guarded_server(tmp_path, ConnectionLimits(begun_heads=2)) as server:
        opened = [await server.connect() for _ in range(6)]
        for _, writer in opened:
            writer.write(BEGUN)
        await server.until(lambda: server.table.count == 6)
        await server.until(partial(holds, server.table, 2 * 10_000))
        assert statuses(await server.send(WHOLE)) == [200]
        assert server.table.held_bytes < 3 * 10_000
        for reader, writer in opened:  # whoever ends their head is answered, whatever others do
            writer.write(b"\r\n\r\n")
            async with asyncio.timeout(SECONDS):
                assert statuses(await reader.readuntil(b"ok")) == [200]
        for _, writer in opened:
            writer.close()
        await server.until(lambda: server.table.count == 0)
        assert server.table.held_bytes == 0


async def test_a_whole_head_is_read_out_of_turn(tmp_path: Path) -> None:
    async with guarded_server(tmp_path, ConnectionLimits(begun_heads=1)) as server:
        opened = [await server.connect() for _ in range(3)]
        for _, writer in opened:
            writer.write(BEGUN)
        await server.until(partial(holds, server.table, 10_000))
        await server.until(lambda: server.table.count == 3)
        reader, writer = opened[2]
        writer.write(b"\r\n\r\n")
        async with asyncio.timeout(SECONDS):
            assert statuses(await reader.readuntil(b"ok")) == [200]
        for _, writer in opened:
            writer.close()


async def test_whoever_waits_ends_in_time(tmp_path: Path) -> None:
    limits = ConnectionLimits(begun_heads=1, head_seconds=0.1)
    async with guarded_server(tmp_path, limits) as server:
        opened = [await server.connect() for _ in range(4)]
        for _, writer in opened:
            writer.write(BEGUN)
        async with asyncio.timeout(SECONDS):
            for reader, _ in opened:
                try:
                    assert statuses(await reader.read()) in ([408], [])
                except ConnectionResetError:  # some of what was sent was not read
                    continue
        await server.until(lambda: server.table.count == 0)
        assert statuses(await server.send(WHOLE)) == [200]
        for _, writer in opened:
            writer.close()
