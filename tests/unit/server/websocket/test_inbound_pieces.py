"""Bytes of a client for a connection that takes them slowly, or not at all."""

import asyncio

from upwell.server.websocket.relay import InboundPieces

SECONDS = 5
MIB = 1024 * 1024


async def test_a_large_piece_waits_with_its_client_until_it_is_taken() -> None:
    inbound, taken = InboundPieces(), bytearray()
    putting = asyncio.create_task(inbound.put(b"a" * MIB))
    async with asyncio.timeout(SECONDS):
        async for piece in inbound.pieces():
            assert len(piece) <= MIB // 16
            taken += piece
            if len(taken) == MIB:
                await putting
                await inbound.put(b"")
    assert taken == b"a" * MIB


async def test_nothing_waits_for_a_connection_that_is_over() -> None:
    inbound = InboundPieces()
    putting = asyncio.create_task(inbound.put(b"a" * MIB))
    await asyncio.sleep(0)
    assert not putting.done()
    inbound.close()
    async with asyncio.timeout(SECONDS):
        await putting
        await inbound.put(b"b")
    assert [piece async for piece in inbound.pieces()] == []
