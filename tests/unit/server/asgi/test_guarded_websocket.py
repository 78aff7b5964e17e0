"""WebSockets whose clients send without end, or take nothing of what they are sent."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from upwell.server.asgi import send_buffers
from upwell.server.asgi.connections import ConnectionLimits, ConnectionTable
from upwell.server.asgi.serving import serve
from upwell.server.asgi.tls import generated, server_context

SECONDS = 20
UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
FINAL, TEXT, BINARY, PING = 0x80, 1, 2, 9


def frame(kind: int, payload: bytes) -> bytes:
    """Return a frame of a client, masked with zeros (RFC 6455, 5.2)."""
    size = len(payload)
    length = bytes([0x80 | size]) if size < 126 else b"\xfe" + size.to_bytes(2)
    return bytes([kind]) + length + bytes(4) + payload


async def lives(receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


async def deaf(scope: Scope, receive: Receive, send: Send) -> None:
    """Work on the first message without end."""
    if scope["type"] == "lifespan":
        await lives(receive, send)
        return
    websocket = WebSocket(scope, receive, send)
    await websocket.accept()
    await websocket.receive_bytes()
    await asyncio.Event().wait()


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        await lives(receive, send)
        return
    websocket = WebSocket(scope, receive, send)
    await websocket.accept()
    await websocket.send_text(await websocket.receive_text())
    await websocket.close()


@contextlib.asynccontextmanager
async def connected(
    folder: Path, table: ConnectionTable, app: ASGIApp = echo
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Open a WebSocket of a client whose kernel keeps little of what it does not read."""
    certificate = generated(folder / "tls", ["localhost"], datetime.now(UTC))
    tls, shutdown = server_context(certificate), asyncio.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        address = listener.getsockname()
        serving = asyncio.create_task(
            serve(app, listener, shutdown, tls=tls, plain=True, grace_seconds=1, table=table)
        )
        client.settimeout(0)
        try:
            async with asyncio.timeout(SECONDS):
                await asyncio.get_running_loop().sock_connect(client, address)
                reader, writer = await asyncio.open_connection(sock=client, limit=2048)
                writer.write(UPGRADE)
                assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
                yield reader, writer
                writer.close()
        finally:
            shutdown.set()
            async with asyncio.timeout(SECONDS):
                await serving


async def test_pings_of_a_client_that_reads_nothing_are_not_all_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else their answers are in memory until it does."""
    monkeypatch.setattr(send_buffers, "STREAM_BYTES", 4096)
    async with connected(tmp_path, ConnectionTable()) as (reader, writer):
        count = 4000
        writer.write(frame(FINAL | PING, b"a" * 125) * count + frame(FINAL | TEXT, b"over"))
        await writer.drain()
        answers = await reader.read()
    assert b"over" in answers
    assert 0 < answers.count(b"a" * 125) < count / 2


async def test_a_message_without_end_is_held_against_its_client(tmp_path: Path) -> None:
    table = ConnectionTable(ConnectionLimits(held_bytes=100_000))
    async with connected(tmp_path, table) as (reader, writer):
        writer.write(frame(BINARY, b"a" * 60_000))
        with contextlib.suppress(ConnectionError):
            writer.write(frame(0, b"a" * 60_000))
            assert await reader.read() == b""
    assert table.refused == {"held-bytes": 1}
    assert table.held_bytes == 0


async def test_a_client_that_takes_nothing_is_cut_off(tmp_path: Path) -> None:
    table = ConnectionTable(ConnectionLimits(stalled_seconds=0.2))
    async with connected(tmp_path, table) as (_, writer):
        length = 2_000_000
        head = bytes([FINAL | BINARY, 0xFF]) + length.to_bytes(8) + bytes(4)
        writer.write(bytes([FINAL | TEXT]) + head[1:] + b"a" * length)
        async with asyncio.timeout(SECONDS):
            while table.refused["slow-reader"] == 0 or table.count:  # noqa: ASYNC110 - tells nobody
                await asyncio.sleep(0.01)
    assert table.held_bytes == 0


async def test_messages_count_for_their_client_until_the_next_one_is_asked_for(
    tmp_path: Path,
) -> None:
    table = ConnectionTable(ConnectionLimits(held_bytes=100_000))
    async with connected(tmp_path, table, deaf) as (reader, writer):
        for _ in range(4):
            writer.write(frame(FINAL | BINARY, b"a" * 40_000))
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
    assert table.refused == {"held-bytes": 1}
    assert table.held_bytes == 0


async def test_an_answer_to_a_client_that_has_left_ends_though_it_reads_no_more(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ended = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await deaf(scope, receive, send)
        finally:
            ended.set()

    async with connected(tmp_path, ConnectionTable(), app) as (_, writer):
        for kind in (BINARY, *[0] * 8):  # one message, in parts
            writer.write(frame(kind, b"a" * 60_000))
        writer.write(frame(FINAL, b"a"))
        await writer.drain()
        writer.close()
        async with asyncio.timeout(SECONDS):
            await ended.wait()
    assert "ASGI" not in caplog.text
