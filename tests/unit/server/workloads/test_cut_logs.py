"""A log whose runtime fails after it has begun: cut off, and told in one line."""

import asyncio
import logging
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from upwell.server.asgi.serving import serve
from upwell.server.asgi.tls import generated, server_context
from upwell.server.http.errors import ERROR_HANDLERS
from upwell.server.http.streaming import OpenStreams
from upwell.server.workloads.log_requests import limited
from upwell.server.workloads.log_streams import begun, log_response, side_by_side
from upwell.workload.interface import RuntimeUnavailableError


async def cut() -> AsyncIterator[bytes]:
    yield b"one\n"
    raise RuntimeUnavailableError("podman has ended")


@pytest.mark.parametrize("count", [1, 2])
async def test_a_client_sees_that_it_is_not_the_whole_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, count: int
) -> None:
    shutdown = asyncio.Event()
    streams = OpenStreams(1, shutdown)

    async def log(_: Request) -> Response:
        return log_response(
            streams, cut() if count == 1 else side_by_side({str(i): cut() for i in range(count)})
        )

    app = Starlette(routes=[Route("/", log)], exception_handlers=ERROR_HANDLERS)
    tls = server_context(generated(tmp_path / "tls", ["localhost"], datetime.now(UTC)))
    with socket.create_server(("127.0.0.1", 0)) as listener, caplog.at_level(logging.INFO):
        serving = asyncio.create_task(serve(app, listener, shutdown, tls=tls, plain=True))
        reader, writer = await asyncio.open_connection(*listener.getsockname())
        async with asyncio.timeout(20):
            writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        shutdown.set()
        await serving
    assert answer.startswith(b"HTTP/1.1 200")
    assert answer.endswith(b"one\n\r\n")  # and not 0, which would be the end of its chunks
    told = [one for one in caplog.records if one.levelno >= logging.WARNING]
    assert [(one.message, one.exc_info) for one in told] == [("log cut off", None)]
    assert streams.count == 0


async def at_once(pieces: AsyncGenerator[bytes]) -> AsyncIterator[bytes]:
    return limited(pieces, 1)


async def together(pieces: AsyncGenerator[bytes]) -> AsyncIterator[bytes]:
    return side_by_side({"one": pieces})


@pytest.mark.parametrize("way", [at_once, begun, together])
async def test_who_leaves_ends_the_runtime_s_answer_too(
    way: Callable[[AsyncGenerator[bytes]], Awaitable[AsyncIterator[bytes]]],
) -> None:
    """Left to the collector, it would end some time later: after the runtime's connections."""
    ended = asyncio.Event()

    async def followed() -> AsyncGenerator[bytes]:
        try:
            while True:
                yield b"line\n"
        finally:
            ended.set()

    log = followed()
    response = await way(log)
    await anext(response)
    assert isinstance(response, AsyncGenerator)
    await response.aclose()
    assert ended.is_set()
