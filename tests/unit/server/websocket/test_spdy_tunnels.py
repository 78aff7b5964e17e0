"""Forwarded connections inside a SPDY session: a client of the test's own speaks it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from upwell.server.websocket import tunnel as spdy_tunnel
from upwell.server.websocket.relay import Connection
from upwell.server.websocket.spdy import (
    Data,
    Decoder,
    Encoder,
    Frame,
    GoAway,
    Ping,
    Reset,
    SpdyError,
    data_frame,
    goaway_frame,
    ping_frame,
    reset_frame,
)
from upwell.server.websocket.tunnel import Tunnel
from upwell.workload.errors import UnreachableError

SECONDS = 5


@dataclass
class TunnelClient:
    """The other end of a tunnel; `ports` has what answers at which port."""

    ports: dict[int, int]
    encoder: Encoder = field(default_factory=Encoder)
    decoder: Decoder = field(default_factory=Decoder)
    sent: asyncio.Queue[bytes | None] = field(default_factory=asyncio.Queue)
    received: asyncio.Queue[Frame] = field(default_factory=asyncio.Queue)
    writers: list[asyncio.StreamWriter] = field(default_factory=list)
    next_stream: int = 1

    @contextlib.asynccontextmanager
    async def connect(self, port: int) -> AsyncIterator[Connection]:
        if port not in self.ports:
            raise UnreachableError(f"port {port}: nothing listens")
        reader, writer = await asyncio.open_connection("127.0.0.1", self.ports[port])
        self.writers.append(writer)
        yield reader, writer

    async def take(self, data: bytes) -> None:
        for frame in self.decoder.feed(data):
            self.received.put_nowait(frame)

    async def chunks(self) -> AsyncIterator[bytes]:
        while (chunk := await self.sent.get()) is not None:
            yield chunk

    def send(self, data: bytes) -> None:
        self.sent.put_nowait(data)

    def open(self, port: int | str, request: str = "") -> tuple[int, int]:
        """Open the streams of a connection; return the error stream and the data stream."""
        error, data = self.next_stream, self.next_stream + 2
        self.next_stream += 4
        headers = {"port": str(port), "requestID": request or str(error)}
        self.send(self.encoder.syn_stream(error, {"streamType": "error", **headers}, fin=True))
        self.send(self.encoder.syn_stream(data, {"streamType": "data", **headers}))
        return error, data

    async def next(self) -> Frame:
        async with asyncio.timeout(SECONDS):
            return await self.received.get()

    async def read(self, stream: int) -> bytes:
        """Return what comes on a stream to its end; other streams' frames are lost."""
        whole = b""
        while True:
            frame = await self.next()
            if isinstance(frame, Data) and frame.stream == stream:
                whole += frame.payload
                if frame.fin:
                    return whole


@contextlib.asynccontextmanager
async def tunnelling(ports: dict[int, int] | None = None) -> AsyncIterator[TunnelClient]:
    client = TunnelClient(ports or {})
    serving = asyncio.create_task(Tunnel(client.connect, client.take).serve(client.chunks()))
    try:
        yield client
    finally:
        client.sent.put_nowait(None)
        async with asyncio.timeout(SECONDS):
            await serving
        for writer in client.writers:
            assert writer.is_closing()


@contextlib.asynccontextmanager
async def answering(*, reads: bool = True) -> AsyncIterator[int]:
    """Serve what sends everything back, or, with `reads` false, what reads nothing."""
    over = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while reads and (chunk := await reader.read(65536)):
                writer.write(chunk)
                await writer.drain()
            if not reads:
                await over.wait()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, limit=2048)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        over.set()
        server.close()


async def test_a_connection_goes_there_and_back_to_its_end() -> None:
    async with answering() as port, tunnelling({80: port}) as client:
        error, data = client.open(80)
        sent = bytes(range(256)) * 2000
        for start in range(0, len(sent), 30_000):
            client.send(data_frame(data, sent[start : start + 30_000]))
        client.send(data_frame(data, b"", fin=True))

        assert await client.read(data) == sent
        assert await client.next() == Data(error, b"", fin=True)


async def test_connections_do_not_wait_for_each_other() -> None:
    async with answering() as port, tunnelling({80: port}) as client:
        (_, first), (_, second) = client.open(80), client.open(80)
        client.send(data_frame(second, b"two"))
        assert await client.next() == Data(second, b"two")
        client.send(data_frame(first, b"one"))
        assert await client.next() == Data(first, b"one")


async def test_where_nothing_listens_is_said_on_the_error_stream() -> None:
    async with tunnelling() as client:
        error, data = client.open(81)
        assert await client.next() == Data(data, b"", fin=True)
        assert await client.next() == Data(error, b"port 81: nothing listens", fin=True)
        client.send(data_frame(data, b"too late"))
        client.send(ping_frame(5))
        assert await client.next() == Ping(5)


async def test_a_client_may_drop_a_connection() -> None:
    async with answering() as port, tunnelling({80: port}) as client:
        error, data = client.open(80)
        client.send(data_frame(data, b"x"))
        assert await client.next() == Data(data, b"x")
        client.send(reset_frame(data, 5))
        assert await client.next() == Data(error, b"", fin=True)
        async with asyncio.timeout(SECONDS):
            await client.writers[0].wait_closed()


async def test_streams_that_make_no_connection_are_reset() -> None:
    async with tunnelling({80: 1}) as client:
        for headers in (
            {"streamType": "data", "port": "80", "requestID": "1"},
            {"streamType": "what", "port": "80", "requestID": "2"},
            {},
        ):
            client.send(client.encoder.syn_stream(client.next_stream, headers))
            assert await client.next() == Reset(client.next_stream)
            client.next_stream += 2
        for port in ("0", "65536", "http", "-1", "9" * 400):
            _, data = client.open(port)
            assert await client.next() == Reset(data)


async def test_only_so_many_streams_are_open_at_one_time() -> None:
    async with answering() as port, tunnelling({80: port}) as client:
        for _ in range(128):
            client.open(80)
        error, data = client.open(80)
        assert [await client.next(), await client.next()] == [Reset(error), Reset(data)]


async def test_one_that_reads_nothing_keeps_the_others_for_a_while_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(spdy_tunnel, "_STALL_SECONDS", 0.2)
    async with (
        answering(reads=False) as silent,
        answering() as port,
        tunnelling({79: silent, 80: port}) as client,
    ):
        error, stalled = client.open(79)
        for _ in range(100):
            client.send(data_frame(stalled, bytes(250_000)))
        _, data = client.open(80)
        client.send(data_frame(data, b"still here"))
        assert await client.next() == Reset(stalled)
        assert await client.next() == Data(error, b"", fin=True)
        assert await client.next() == Data(data, b"still here")


async def test_pings_are_answered_and_a_goodbye_ends_nothing() -> None:
    async with answering() as port, tunnelling({80: port}) as client:
        _, data = client.open(80)
        client.send(goaway_frame(0, 0) + ping_frame(1))
        assert await client.next() == Ping(1)
        client.send(data_frame(data, b"x"))
        assert await client.next() == Data(data, b"x")


@pytest.mark.parametrize("stream", [2, 1])
async def test_a_broken_session_is_over(stream: int) -> None:
    client = TunnelClient({})
    client.open(80)
    client.send(client.encoder.syn_stream(stream, {}))
    with pytest.raises(ExceptionGroup) as caught:
        await Tunnel(client.connect, client.take).serve(client.chunks())
    assert caught.group_contains(SpdyError, match=f"stream {stream} after stream 3")
    assert not any(isinstance(frame, GoAway) for frame in client.received._queue)  # type: ignore[attr-defined]
