"""Bytes from a client to a connection and back, until both directions have ended."""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager

_CHUNK = 32 * 1024
_WAITING_BYTES = 64 * 1024
"""For one connection, before more is taken from its client."""

type Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]
type Connect = Callable[[int], AbstractAsyncContextManager[Connection]]
"""Connects to a port for as long as the block lasts; raises WorkloadError."""
type Send = Callable[[bytes], Awaitable[None]]
"""Takes a piece that the connection sent; the empty one is the end."""


class InboundPieces:
    """Bytes that a client sends for one connection, of which a few may wait."""

    def __init__(self) -> None:
        self._pieces: deque[bytes] = deque()
        self._bytes = 0
        self._is_closed = False
        self._room = asyncio.Event()
        self._news = asyncio.Event()

    async def put(self, piece: bytes | memoryview) -> None:
        """Add a piece, the empty one for the end; returns when all of it waits, or nobody reads."""
        for at in range(0, len(piece) or 1, _CHUNK):
            while self._bytes >= _WAITING_BYTES and not self._is_closed:
                self._room.clear()
                await self._room.wait()
            if self._is_closed:
                return
            part = bytes(piece[at : at + _CHUNK])
            self._pieces.append(part)
            self._bytes += len(part)
            self._news.set()

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yield the pieces to the end."""
        while True:
            while not self._pieces and not self._is_closed:
                self._news.clear()
                await self._news.wait()
            if self._is_closed or not (piece := self._pieces.popleft()):
                return
            self._bytes -= len(piece)
            self._room.set()
            yield piece

    def close(self) -> None:
        """Drop what waits and what is still to come."""
        self._is_closed = True
        self._pieces.clear()
        self._room.set()
        self._news.set()


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
