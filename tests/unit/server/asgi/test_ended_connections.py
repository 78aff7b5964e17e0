"""Connections that have ended: nothing of them waits for the garbage collector."""

import asyncio
import gc
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from tests.support.server.guarded_server import (
    HOST,
    SECONDS,
    GuardedServer,
    guarded_server,
    statuses,
)

from upwell.server.asgi.connections import ConnectionLimits
from upwell.server.asgi.guarded_http import GuardedHttpProtocol
from upwell.server.asgi.guarded_websocket import GuardedWebSocketProtocol

REQUEST = b"GET /a HTTP/1.1\r\n" + HOST + b"\r\n"
BODY = b"POST /a HTTP/1.1\r\n" + HOST + b"Content-Length: 100000\r\n\r\n" + b"a" * 50_000


@pytest.fixture
def collector() -> Iterator[None]:
    """Collect nothing for as long as the test lasts."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


async def answered(server: GuardedServer) -> None:
    assert statuses(await server.send(REQUEST)) == [200]


async def refused(server: GuardedServer) -> None:
    assert statuses(await server.send(b"GET /\r\n\r\n")) == [400]


async def cut_in_a_head(server: GuardedServer) -> None:
    await _sent_and_cut(server, b"GET /a HTTP/1.1\r\nX: " + b"a" * 5000)


async def cut_in_a_body(server: GuardedServer) -> None:
    server.app.may_read.clear()
    await _sent_and_cut(server, BODY)
    server.app.may_read.set()


async def cut_with_requests_that_wait(server: GuardedServer) -> None:
    server.app.may_answer.clear()
    await _sent_and_cut(server, REQUEST * 4)
    server.app.may_answer.set()


async def too_many_that_wait(server: GuardedServer) -> None:
    server.app.may_answer.clear()
    assert await server.send(REQUEST * 20) == b""
    server.app.may_answer.set()


async def a_message_of_a_websocket(server: GuardedServer) -> None:
    upgrade = (
        b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    assert statuses(await server.send(b"GET /ws HTTP/1.1\r\n" + HOST + upgrade)) == [101]


async def _sent_and_cut(server: GuardedServer, raw: bytes) -> None:
    """Send, and leave without a word once the server holds some of it."""
    _, writer = await server.connect()
    writer.write(raw)
    await server.until(lambda: server.table.held_bytes > 0)
    writer.transport.abort()


ENDS: list[Callable[[GuardedServer], Awaitable[None]]] = [
    answered,
    refused,
    cut_in_a_head,
    cut_in_a_body,
    cut_with_requests_that_wait,
    too_many_that_wait,
    a_message_of_a_websocket,
]


@pytest.mark.usefixtures("collector")
@pytest.mark.parametrize("end", ENDS)
async def test_nothing_of_it_is_left(
    tmp_path: Path, end: Callable[[GuardedServer], Awaitable[None]]
) -> None:
    async with guarded_server(tmp_path, ConnectionLimits()) as server:
        for _ in range(3):
            await end(server)
        async with asyncio.timeout(SECONDS):
            while any(map(server_owns(server.port), gc.get_objects())):  # noqa: ASYNC110
                await asyncio.sleep(0.01)  # objects tell nobody of their end


def server_owns(port: int) -> Callable[[object], bool]:
    """Return whether an object is of a connection to the server at this port."""

    def owns(one: object) -> bool:
        if isinstance(one, asyncio.Transport):
            return bool(one.get_extra_info("sockname")[1] == port)
        return isinstance(one, GuardedHttpProtocol | GuardedWebSocketProtocol)

    return owns
