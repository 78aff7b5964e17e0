"""Servers on free loopback ports that answer with bytes of the tests' choice."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

type Handler = Callable[[str, asyncio.StreamWriter], Awaitable[None]]
"""Is given the head of a request, and writes what it likes."""


@contextlib.asynccontextmanager
async def server(handle: Handler, port: int = 0) -> AsyncIterator[str]:
    """Serve one request on each connection; yield the URL."""
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        with contextlib.suppress(ConnectionError, asyncio.CancelledError):
            await handle((await reader.readuntil(b"\r\n\r\n")).decode(), writer)
            await writer.drain()
        tasks.discard(task)
        writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", port)
    try:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    finally:
        listening.close()
        for task in tasks:
            task.cancel()


def says(body: bytes | str, status: str = "200 OK", **headers: str) -> Handler:
    """Return a handler that always answers the same."""
    content = body.encode() if isinstance(body, str) else body
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    head = [f"HTTP/1.1 {status}", f"Content-Length: {len(content)}", *lines, "", ""]

    async def handle(_: str, writer: asyncio.StreamWriter) -> None:
        writer.write("\r\n".join(head).encode() + content)

    return handle


def prometheus(result: Any, kind: str = "vector") -> Handler:
    """Return a handler that answers as Prometheus does."""
    return says(json.dumps({"status": "success", "data": {"resultType": kind, "result": result}}))


async def silent(_: str, __: asyncio.StreamWriter) -> None:
    """Never answer."""
    await asyncio.Event().wait()


async def endless(_: str, writer: asyncio.StreamWriter) -> None:
    """Answer, and never come to the end."""
    writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        writer.write(b"more and more " * 1000)
        await writer.drain()


async def dripping(_: str, writer: asyncio.StreamWriter) -> None:
    """Answer a byte at a time."""
    writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        writer.write(b".")
        await writer.drain()
        await asyncio.sleep(0.01)


async def garbage(_: str, writer: asyncio.StreamWriter) -> None:
    """Speak no HTTP."""
    writer.write(b"\x00\xff SSH-2.0 \r\n\r\n")
