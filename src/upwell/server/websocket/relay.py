"""Bytes from a client to a connection and back, until both directions have ended."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

_CHUNK = 32 * 1024

type Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]
type Send = Callable[[bytes], Awaitable[None]]
"""Takes a piece that the connection sent; the empty one is the end."""


class InboundPieces:
    """Pieces that a client sends for one connection, of which a few may wait."""

    def __init__(self, most_waiting: int) -> None:
        self._queue: asyncio.Queue[bytes] = asyncio.Queue(most_waiting)
        self._is_closed = False

    async def put(self, piece: bytes) -> None:
        """Add a piece, the empty one for the end; returns when there is room, or nobody reads."""
        if not self._is_closed:
            await self._queue.put(piece)

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yield the pieces to the end."""
        while piece := await self._queue.get():
            yield piece

    def close(self) -> None:
        """Drop what waits and what is still to come."""
        self._is_closed = True
        while not self._queue.empty():
            self._queue.get_nowait()


async def relay(connection: Connection, inbound: InboundPieces, send: Send) -> None:
    """Copy both ways, each to its end, and close the connection and the inbound.

    A connection that breaks has ended; whatever `send` raises is passed on.
    """
    reader, writer = connection
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(_copy_in(inbound, writer))
            group.create_task(_copy_out(reader, send))
    finally:
        inbound.close()
        writer.close()


async def _copy_in(inbound: InboundPieces, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        async for piece in inbound.pieces():
            writer.write(piece)
            await writer.drain()
        writer.write_eof()
    inbound.close()  # also when the connection broke: others share the client's way


async def _copy_out(reader: asyncio.StreamReader, send: Send) -> None:
    with contextlib.suppress(OSError):
        while piece := await reader.read(_CHUNK):
            await send(piece)
    await send(b"")
