"""The HTTP server as it runs, in front of an application that remembers what reached it."""

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket

from upwell.server.asgi.connections import ConnectionLimits, ConnectionTable
from upwell.server.asgi.serving import serve
from upwell.server.asgi.tls import generated, server_context

SECONDS = 20
HOST = b"Host: localhost\r\n"


@dataclass
class RequestRecorder:
    """An application that remembers each request that reached it."""

    seen: list[tuple[str, str, bytes]] = field(default_factory=list)
    headers: list[dict[bytes, bytes]] = field(default_factory=list)
    answer: bytes = b"ok"
    streamed: int = 0
    """Bytes of answers to `/stream`, which have no end."""
    may_read: asyncio.Event = field(default_factory=asyncio.Event)
    may_answer: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.may_read.set()
        self.may_answer.set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        if scope["type"] == "websocket":
            websocket = WebSocket(scope, receive, send)
            await websocket.accept()
            await websocket.close()
            return
        request = Request(scope, receive)
        await self.may_read.wait()
        try:
            body = await request.body()
        except ClientDisconnect:
            return
        self.seen.append((request.method, request.url.path, body))
        self.headers.append(dict(scope["headers"]))
        await self.may_answer.wait()
        if request.url.path == "/stream":
            await StreamingResponse(self._pieces())(scope, receive, send)
            return
        await Response(self.answer)(scope, receive, send)

    async def _pieces(self) -> AsyncIterator[bytes]:
        while True:
            self.streamed += 16 * 1024
            yield b"a" * 16 * 1024
            await asyncio.sleep(0)  # of who has left, nobody else tells


@dataclass
class GuardedServer:
    port: int
    table: ConnectionTable
    app: RequestRecorder
    shutdown: asyncio.Event

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def send(self, raw: bytes, *, piece: int = 0) -> bytes:
        """Send bytes and the end, and return all that is answered.

        With `piece`, so many bytes at a time, and others have their turn in between.
        """
        reader, writer = await self.connect()
        async with asyncio.timeout(SECONDS):
            with contextlib.suppress(OSError):
                for at in range(0, len(raw), piece or len(raw)):
                    writer.write(raw[at : at + (piece or len(raw))])
                    await writer.drain()
                    await asyncio.sleep(0)
                writer.write_eof()
            try:
                return await reader.read()
            except OSError:
                return b""
            finally:
                writer.close()

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(SECONDS):
            while not holds():  # noqa: ASYNC110 - a table tells no event
                await asyncio.sleep(0.01)


type Served = Callable[..., contextlib.AbstractAsyncContextManager[GuardedServer]]


@contextlib.asynccontextmanager
async def guarded_server(
    folder: Path, limits: ConnectionLimits, clock: Callable[[], float] = time.monotonic
) -> AsyncIterator[GuardedServer]:
    """Serve on a free port while the block lasts; `folder` is for its certificate."""
    certificate = generated(folder / "tls", ["localhost"], datetime.now(UTC))
    shutdown, app, table = asyncio.Event(), RequestRecorder(), ConnectionTable(limits, clock)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = GuardedServer(listener.getsockname()[1], table, app, shutdown)
        tls = server_context(certificate)
        task = asyncio.create_task(
            serve(app, listener, shutdown, tls=tls, plain=True, grace_seconds=1, table=table)
        )
        try:
            yield server
        finally:
            shutdown.set()
            async with asyncio.timeout(SECONDS):
                await task


def statuses(answer: bytes) -> list[int]:
    return [int(part[:3]) for part in answer.split(b"HTTP/1.1 ")[1:]]
