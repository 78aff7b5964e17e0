"""A log whose runtime fails, or whose server stops, after it has begun: it is cut off."""

import asyncio
import logging
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
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
from upwell.workload.errors import RuntimeUnavailableError


async def cut() -> AsyncIterator[bytes]:
    yield b"one\n"
    raise RuntimeUnavailableError("podman has ended")


async def goes_on() -> AsyncIterator[bytes]:
    yield b"one\n"
    await asyncio.Event().wait()


async def ends() -> AsyncIterator[bytes]:
    yield b"one\n"


@dataclass
class ServedLog:
    """A log as a client reads it, from a server that can be told to stop."""

    streams: OpenStreams
    reader: asyncio.StreamReader
    serving: asyncio.Task[None]

    async def stop(self) -> None:
        self.streams.shutdown.set()
        await self.serving


@asynccontextmanager
async def served(
    folder: Path, *sources: Callable[[], AsyncIterator[bytes]]
) -> AsyncIterator[ServedLog]:
    """Serve a log, of several sources side by side, and ask for it."""
    streams = OpenStreams(1, asyncio.Event())

    async def log(_: Request) -> Response:
        logs = {str(number): source() for number, source in enumerate(sources)}
        return log_response(streams, logs["0"] if len(logs) == 1 else side_by_side(logs))

    app = Starlette(routes=[Route("/", log)], exception_handlers=ERROR_HANDLERS)
    tls = server_context(generated(folder / "tls", ["localhost"], datetime.now(UTC)))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = asyncio.create_task(serve(app, listener, streams.shutdown, tls=tls, plain=True))
        reader, writer = await asyncio.open_connection(*listener.getsockname())
        async with asyncio.timeout(60):
            writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            server = ServedLog(streams, reader, serving)
            yield server
        writer.close()
        await writer.wait_closed()
        await server.stop()
    assert streams.count == 0


@pytest.mark.parametrize("count", [1, 2])
async def test_a_client_sees_that_it_is_not_the_whole_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, count: int
) -> None:
    with caplog.at_level(logging.INFO):
        async with served(tmp_path, *[cut] * count) as server:
            answer = await server.reader.read()
    assert answer.startswith(b"HTTP/1.1 200")
    assert answer.endswith(b"one\n\r\n")  # and not 0, which would be the end of its chunks
    told = [one for one in caplog.records if one.levelno >= logging.WARNING]
    assert [(one.message, one.exc_info) for one in told] == [("log cut off", None)]


@pytest.mark.parametrize("count", [1, 2])
async def test_a_client_sees_that_the_server_has_stopped(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, count: int
) -> None:
    with caplog.at_level(logging.INFO):
        async with served(tmp_path, *[goes_on] * count) as server:
            answer = await server.reader.readuntil(b"one\n")
            await server.stop()
            answer += await server.reader.read()
    assert answer.endswith(b"one\n\r\n")
    assert not [one for one in caplog.records if one.levelno >= logging.WARNING]


@pytest.mark.parametrize("count", [1, 2])
async def test_a_log_that_has_ended_is_whole(tmp_path: Path, count: int) -> None:
    async with served(tmp_path, *[ends] * count) as server:
        answer = await server.reader.readuntil(b"\r\n0\r\n\r\n")
    assert answer.count(b"one\n") == count


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
