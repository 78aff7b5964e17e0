"""HTTP/1.1 as strangers send it, through the server as it runs: limits, framing, smuggling."""

import asyncio
import collections
import contextlib
import socket
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest
from tests.support.server.guarded_server import (
    HOST,
    SECONDS,
    GuardedServer,
    Served,
    guarded_server,
    statuses,
)

from upwell.server.asgi.connections import ConnectionLimits, ConnectionTable


@pytest.fixture
def serving(tmp_path: Path) -> Served:
    return partial(guarded_server, tmp_path)


@pytest.fixture
async def server(serving: Served) -> AsyncIterator[GuardedServer]:
    async with serving(ConnectionLimits()) as running:
        yield running


ACCEPTED = {
    "a request": (b"GET /a HTTP/1.1\r\n" + HOST + b"\r\n", [("GET", "/a", b"")]),
    "an empty line before": (b"\r\nGET /a HTTP/1.1\r\n" + HOST + b"\r\n", [("GET", "/a", b"")]),
    "a body": (
        b"POST /a HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\n\r\nabc",
        [("POST", "/a", b"abc")],
    ),
    "chunks": (
        b"POST /a HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"
        b"3\r\nabc\r\n2;name=value\r\nde\r\n0\r\n\r\n",
        [("POST", "/a", b"abcde")],
    ),
    "trailers": (
        b"POST /a HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"
        b"1\r\na\r\n0\r\nAuthorization: Bearer late\r\n\r\n",
        [("POST", "/a", b"a")],
    ),
    "two in a row": (
        (b"GET /a HTTP/1.1\r\n" + HOST + b"\r\n") + (b"GET /b HTTP/1.1\r\n" + HOST + b"\r\n"),
        [("GET", "/a", b""), ("GET", "/b", b"")],
    ),
    "an unknown upgrade": (
        b"GET /a HTTP/1.1\r\n" + HOST + b"Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
        [("GET", "/a", b"")],
    ),
    "HTTP/1.0": (b"GET /a HTTP/1.0\r\n\r\n", [("GET", "/a", b"")]),
    "an absolute target": (
        b"GET http://localhost/a HTTP/1.1\r\n" + HOST + b"\r\n",
        [("GET", "/a", b"")],
    ),
}


@pytest.mark.parametrize("case", ACCEPTED)
async def test_what_is_well_formed_is_served(server: GuardedServer, case: str) -> None:
    raw, expected = ACCEPTED[case]
    answer = await server.send(raw)
    assert server.app.seen == expected
    assert statuses(answer) == [200] * len(expected)
    assert b"authorization" not in server.app.headers[0]


SMUGGLED = b"GET /smuggled HTTP/1.1\r\n" + HOST + b"\r\n"
MALFORMED = {
    "both framings": b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "both framings, turned round": (
        b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n"
    ),
    "two lengths": b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
    "a list of lengths": b"Content-Length: 3, 4\r\n\r\nabc",
    "a signed length": b"Content-Length: +3\r\n\r\nabc",
    "a negative length": b"Content-Length: -1\r\n\r\n",
    "a length in hexadecimal": b"Content-Length: 0x3\r\n\r\nabc",
    "a length that overflows": b"Content-Length: 18446744073709551617\r\n\r\na",
    "a length with a space": b"Content-Length: 1 0\r\n\r\n",
    "a space before the colon": b"Content-Length : 3\r\n\r\nabc",
    "a folded line": b"X: a\r\n Content-Length: 3\r\n\r\nabc",
    "a folded framing": b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    "an unknown coding after chunked": b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "chunked twice": b"Transfer-Encoding: chunked\r\n" * 2
    + b"Transfer-Encoding: x\r\n\r\n0\r\n\r\n",
    "an unknown coding": b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "a null in a value": b"X: a\0b\r\n\r\n",
    "a null in a name": b"X\0: a\r\n\r\n",
    "a bare CR": b"X: a\rContent-Length: 3\r\n\r\nabc",
    "no colon": b"X\r\n\r\n",
    "no name": b": a\r\n\r\n",
    "a line feed alone in a chunk": b"Transfer-Encoding: chunked\r\n\r\n1\na\r\n0\r\n\r\n",
    "a chunk that is longer than it says": (
        b"Transfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n0\r\n\r\n"
    ),
    "a chunk's size with a sign": b"Transfer-Encoding: chunked\r\n\r\n+1\r\na\r\n0\r\n\r\n",
    "a chunk's size with 0x": b"Transfer-Encoding: chunked\r\n\r\n0x1\r\na\r\n0\r\n\r\n",
    "a chunk's size that overflows": (
        b"Transfer-Encoding: chunked\r\n\r\n10000000000000001\r\na\r\n0\r\n\r\n"
    ),
    "a chunk's size with a space": b"Transfer-Encoding: chunked\r\n\r\n1 1\r\na\r\n0\r\n\r\n",
    "no size of a chunk": b"Transfer-Encoding: chunked\r\n\r\n\r\na\r\n0\r\n\r\n",
    "a carriage return alone after a chunk": (
        b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r0\r\n\r\n"
    ),
    "a space before the first name": b" X: a\r\n\r\n",
    "a space in a name": b"X Y: a\r\n\r\n",
    "a control character in a name": b"X\x01: a\r\n\r\n",
    "a name in Unicode": "Ünïcode: a\r\n\r\n".encode(),
    "a value that ends in a carriage return": b"X: a\r\r\n\r\n",
}
BEGINNINGS = {
    "no HTTP": b"\x16\x03\x01\x02\x00\x01\x00",
    "HTTP/2's preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/0.9": b"GET /\r\n\r\n",
    "another version": b"GET / HTTP/1.2\r\n" + HOST + b"\r\n",
    "a version of two digits": b"GET / HTTP/1.10\r\n" + HOST + b"\r\n",
    "a method of its own": b"G3T! / HTTP/1.1\r\n" + HOST + b"\r\n",
    "a space too many": b"GET /a /b HTTP/1.1\r\n" + HOST + b"\r\n",
    "a target of bytes": b"GET /\xff\xfe HTTP/1.1\r\n" + HOST + b"\r\n",
    "a null in the target": b"GET /a\0b HTTP/1.1\r\n" + HOST + b"\r\n",
    "no target": b"GET  HTTP/1.1\r\n" + HOST + b"\r\n",
    "a tunnel": b"CONNECT localhost:22 HTTP/1.1\r\n" + HOST + b"\r\n",
}


@pytest.mark.parametrize("case", MALFORMED)
async def test_what_two_parsers_may_read_differently_is_refused(
    server: GuardedServer, case: str
) -> None:
    raw = b"POST /a HTTP/1.1\r\n" + HOST + MALFORMED[case] + SMUGGLED
    answer = await server.send(raw)
    assert all(path != "/smuggled" for _, path, _ in server.app.seen)
    assert statuses(answer) in ([400], [501], [])  # none to a body that went wrong meanwhile


async def test_where_a_request_is_cut_says_nothing_of_it(server: GuardedServer) -> None:
    """Bytes that come one at a time are judged as those that come at once."""
    for case, (raw, expected) in ACCEPTED.items():
        server.app.seen.clear()
        assert statuses(await server.send(raw, piece=1)) == [200] * len(expected), case
        assert server.app.seen == expected, case
    for case, lines in MALFORMED.items():
        raw = b"POST /a HTTP/1.1\r\n" + HOST + lines + SMUGGLED
        assert statuses(await server.send(raw, piece=1)) in ([400], [501], []), case
        assert all(path != "/smuggled" for _, path, _ in server.app.seen), case
    assert statuses(await server.send(SMUGGLED)) == [200]


@pytest.mark.parametrize("case", BEGINNINGS)
async def test_what_begins_as_no_request_is_refused(server: GuardedServer, case: str) -> None:
    answer = await server.send(BEGINNINGS[case] + SMUGGLED)
    assert server.app.seen == []
    assert statuses(answer) in ([400], [])
    assert (await server.send(SMUGGLED)).startswith(b"HTTP/1.1 200 ")


async def test_after_the_last_request_nothing_is_served(server: GuardedServer) -> None:
    last = b"GET /a HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n"
    assert statuses(await server.send(last + SMUGGLED)) == [200]
    await server.until(lambda: server.table.count == 0)
    assert server.app.seen == [("GET", "/a", b"")]


async def test_a_client_that_expects_to_be_asked_is_asked(server: GuardedServer) -> None:
    reader, writer = await server.connect()
    head = b"POST /a HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\nExpect: 100-continue\r\n\r\n"
    writer.write(head)
    async with asyncio.timeout(SECONDS):
        assert await reader.readline() == b"HTTP/1.1 100 Continue\r\n"
        writer.write(b"abc")
        assert await reader.readline() == b"\r\n"
        assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
    writer.close()


async def endlessly(server: GuardedServer, begin: bytes, more: bytes, most: int) -> bytes:
    """Send until the server has had enough; fails when it takes more than `most` bytes."""
    reader, writer = await server.connect()
    sent = 0
    reading = asyncio.create_task(reader.read())
    try:
        async with asyncio.timeout(SECONDS):
            writer.write(begin)
            while not reading.done():
                writer.write(more)
                await writer.drain()
                sent += len(more)
                assert sent < most, "the server takes it for ever"
                await asyncio.sleep(0)
    except OSError:
        pass
    finally:
        writer.close()
    with contextlib.suppress(OSError):
        async with asyncio.timeout(SECONDS):
            return await reading
    return b""


MIB = 1024 * 1024
ENDLESS = {
    "fields": (b"GET / HTTP/1.1\r\n", b"X: a\r\n" * 50),
    "a field": (b"GET / HTTP/1.1\r\nX: ", b"a" * 5000),
    "a name": (b"GET / HTTP/1.1\r\n", b"a" * 5000),
    "a target": (b"GET /", b"a" * 5000),
    "a method": (b"", b"G" * 5000),
    "a query": (b"GET /?", b"a=b&" * 1000),
    "empty lines": (b"", b"\r\n" * 2000),
    "chunk extensions": (
        b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n1;x=",
        b"y" * 5000,
    ),
    "trailers": (
        b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n",
        b"X: y\r\n" * 1000,
    ),
    "a trailer": (
        b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n0\r\nX: ",
        b"y" * 5000,
    ),
}


@pytest.mark.parametrize("case", ENDLESS)
async def test_nothing_goes_on_for_ever(server: GuardedServer, case: str) -> None:
    begin, more = ENDLESS[case]
    answer = await endlessly(server, begin, more, 40 * MIB)
    assert statuses(answer) in ([431], [400], [])
    assert server.app.seen == []
    await server.until(lambda: server.table.count == 0)
    assert sum(server.table.refused.values()) == 1
    assert server.table.held_bytes == 0


async def test_a_body_of_single_bytes_is_read(server: GuardedServer) -> None:
    chunked = b"POST /a HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"
    answer = await server.send(chunked + b"1\r\na\r\n" * 50_000 + b"0\r\n\r\n")
    assert statuses(answer) == [200]
    assert server.app.seen == [("POST", "/a", b"a" * 50_000)]


async def test_a_large_body_before_the_next_head_is_no_part_of_it(server: GuardedServer) -> None:
    first = b"POST /a HTTP/1.1\r\n" + HOST + b"Content-Length: 300000\r\n\r\n" + b"a" * 300_000
    assert statuses(await server.send(first + first)) == [200, 200]


async def test_the_end_of_a_body_is_no_part_of_a_head(serving: Served) -> None:
    """With TLS, one read brings more of a body than a head may have."""
    body = b"a" * 5000
    head = b"POST /a HTTP/1.1\r\n" + HOST + b"Expect: 100-continue\r\nContent-Length: 5000\r\n\r\n"
    async with serving(ConnectionLimits(head_bytes=1000)) as server:
        reader, writer = await server.connect()
        writer.write(head)
        assert statuses(await reader.readuntil(b"\r\n\r\n")) == [100]
        writer.write(body)
        assert statuses(await reader.readuntil(b"ok")) == [200]
        assert server.app.seen == [("POST", "/a", body)]
        assert not server.table.refused
        writer.close()


async def test_more_fields_than_a_head_may_have_are_refused(server: GuardedServer) -> None:
    few = b"".join(b"X-%d: a\r\n" % number for number in range(99))
    assert statuses(await server.send(b"GET /a HTTP/1.1\r\n" + HOST + few + b"\r\n")) == [200]
    answer = await server.send(b"GET /a HTTP/1.1\r\n" + HOST + few + b"Y: a\r\n\r\n")
    assert statuses(answer) == [431]
    assert b"more than 100 fields" in answer


async def test_requests_without_end_are_no_burden(server: GuardedServer) -> None:
    server.app.may_answer.clear()
    reader, writer = await server.connect()
    with contextlib.suppress(OSError):
        writer.write(SMUGGLED * 1000)
        await server.until(lambda: server.table.count == 0)
        assert await reader.read() == b""
    assert server.table.refused == {"400": 1}
    server.app.may_answer.set()
    writer.close()


async def test_heads_are_held_until_their_answers_and_no_longer(server: GuardedServer) -> None:
    server.app.may_answer.clear()
    reader, writer = await server.connect()
    request = b"GET /a HTTP/1.1\r\n" + HOST + b"X: " + b"a" * 1000 + b"\r\n\r\n"
    writer.write(request * 4)
    await server.until(lambda: server.table.held_bytes > 3000)
    server.app.may_answer.set()
    for _ in range(4):
        assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200")
    assert (server.table.held_bytes, server.table.count) == (0, 1)
    writer.write(request)
    await reader.readuntil(b"ok")
    assert (server.table.held_bytes, server.table.count) == (0, 1)
    writer.close()


async def test_answers_release_nothing_of_a_head_that_has_begun(server: GuardedServer) -> None:
    server.app.may_answer.clear()
    reader, writer = await server.connect()
    writer.write(b"GET /a HTTP/1.1\r\n" + HOST + b"\r\n")
    await server.until(lambda: bool(server.app.seen))
    writer.write(b"GET /b HTTP/1.1\r\nX: " + b"a" * 1000)
    await server.until(lambda: server.table.held_bytes > 1000)
    server.app.may_answer.set()
    await reader.readuntil(b"ok")
    assert server.table.held_bytes > 1000
    writer.close()
    await server.until(lambda: server.table.count == 0)
    assert server.table.held_bytes == 0


async def test_a_body_that_nobody_reads_yet_waits_in_the_kernel(server: GuardedServer) -> None:
    server.app.may_read.clear()
    reader, writer = await server.connect()
    writer.write(b"POST /a HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n\r\n" % (30 * MIB))
    writer.write(b"a" * (30 * MIB))
    await server.until(lambda: server.table.held_bytes > 0)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await writer.drain()
    assert server.table.held_bytes <= 128 * 1024
    server.app.may_read.set()
    assert statuses(await reader.readuntil(b"ok")) == [200]
    assert server.table.held_bytes == 0
    writer.close()


def holds(table: ConnectionTable, size: int) -> bool:
    return table.held_bytes >= size


async def test_bodies_that_wait_are_held_for_so_many(serving: Served) -> None:
    """A client in whose turn nobody reads keeps no other's memory."""
    async with serving(ConnectionLimits(held_bytes=200_000)) as server:
        server.app.may_read.clear()
        request = b"POST /a HTTP/1.1\r\n" + HOST + b"Content-Length: 60000\r\n\r\n" + b"a" * 60_000
        opened = [await server.connect() for _ in range(5)]
        for number, (_, writer) in enumerate(opened):
            writer.write(request)
            wanted = 60_000 * min(number + 1, 3)  # so each comes after the one before
            await server.until(partial(holds, server.table, wanted))
        await server.until(lambda: server.table.count == 3)
        assert server.table.held_bytes <= 200_000
        assert server.table.refused == {"held-bytes": 2}
        server.app.may_read.set()
        for reader, _ in opened[2:]:
            assert statuses(await reader.readuntil(b"ok")) == [200]
        for _, writer in opened:
            writer.close()


async def test_an_unfinished_head_ends_in_time(serving: Served) -> None:
    async with serving(ConnectionLimits(head_seconds=0.1)) as server:
        reader, writer = await server.connect()
        writer.write(b"GET / HTTP/1.1\r\nX: a")
        async with asyncio.timeout(SECONDS):
            assert statuses(await reader.read()) == [408]
        writer.close()
        await server.until(lambda: server.table.count == 0)


async def test_an_idle_connection_ends_later_than_clients_end_theirs(serving: Served) -> None:
    assert ConnectionLimits().idle_seconds > 90, "http.Transport.IdleConnTimeout of Go's clients"
    async with serving(ConnectionLimits(idle_seconds=1)) as server:
        reader, writer = await server.connect()
        writer.write(b"GET /a HTTP/1.1\r\n" + HOST + b"\r\n")
        async with asyncio.timeout(SECONDS):
            assert statuses(await reader.read()) == [200]
        writer.close()


async def test_a_connection_that_says_nothing_ends_in_time(serving: Served) -> None:
    async with serving(ConnectionLimits(head_seconds=0.1)) as server:
        reader, writer = await server.connect()
        writer.write(b"\r\n")  # else it is waited for its first byte
        async with asyncio.timeout(SECONDS):
            await reader.read()
        writer.close()
        await server.until(lambda: server.table.count == 0)


async def test_who_reads_nothing_is_cut_off(serving: Served) -> None:
    async with serving(ConnectionLimits(write_seconds=0.1)) as server:
        server.app.answer = b"a" * (16 * MIB)
        reader, writer = await server.connect()
        writer.write(b"GET /a HTTP/1.1\r\n" + HOST + b"\r\n")
        await server.until(lambda: bool(server.app.seen))
        await server.until(lambda: server.table.count == 0)
        with contextlib.suppress(OSError):
            assert len(await reader.read()) < 16 * MIB
        writer.close()


STEP_SECONDS = 20
"""Of the table's clock, between two reads; its connections may be without progress for 30."""


async def read_slowly(serving: Served, head: bytes, piece: int) -> tuple[int, int]:
    """Read 24 pieces of an answer, one in 20 s; return the bytes, and how often it was cut."""
    now = 0.0
    async with serving(ConnectionLimits(), clock=lambda: now) as server:
        server.app.answer = b"a" * (16 * MIB)
        with socket.create_connection(("127.0.0.1", server.port)) as client:
            client.setblocking(False)  # noqa: FBT003 - of the standard library
            loop = asyncio.get_running_loop()
            await loop.sock_sendall(client, head)
            await server.until(lambda: bool(server.app.seen))
            taken = 0
            for _ in range(24):
                with contextlib.suppress(OSError):
                    taken += len(await asyncio.wait_for(read(client, piece), SECONDS))
                now += STEP_SECONDS
                server.table.expire()
                await asyncio.sleep(0)
        return taken, server.table.refused["slow-reader"]


async def read(client: socket.socket, size: int) -> bytes:
    """Read so many bytes, or what there is until the end."""
    loop, read = asyncio.get_running_loop(), bytearray()
    while len(read) < size and (more := await loop.sock_recv(client, size - len(read))):
        read += more
    return bytes(read)


@pytest.mark.parametrize("more", [b"", b"Connection: close\r\n"])
async def test_who_goes_on_reading_slowly_is_answered(serving: Served, more: bytes) -> None:
    """13 KB/s, of which the event loop sees nothing: the kernel's buffer stays full."""
    head = b"GET /a HTTP/1.1\r\n" + HOST + more + b"\r\n"
    assert await read_slowly(serving, head, 256 * 1024) == (24 * 256 * 1024, 0)


@pytest.mark.parametrize("path", [b"/stream", b"/waits"])
async def test_a_stop_cuts_off_without_a_word_of_faults(
    serving: Served, caplog: pytest.LogCaptureFixture, path: bytes
) -> None:
    async with serving(ConnectionLimits()) as server:
        if path == b"/waits":
            server.app.may_answer.clear()
        reader, writer = await server.connect()
        writer.write(b"GET " + path + b" HTTP/1.1\r\n" + HOST + b"\r\n")
        await server.until(lambda: bool(server.app.seen))
        server.shutdown.set()
        await server.until(lambda: server.table.count == 0)
        with contextlib.suppress(OSError):
            assert not (await reader.read()).endswith(b"0\r\n\r\n")
        writer.close()
    assert [record.message for record in caplog.records if record.exc_info] == []
    assert "Internal Server Error" not in caplog.text


async def test_who_reads_a_trickle_is_cut_off(serving: Served) -> None:
    head = b"GET /a HTTP/1.1\r\n" + HOST + b"\r\n"
    taken, cut = await read_slowly(serving, head, 1024)
    assert cut == 1
    assert taken < MIB


async def test_of_an_answer_that_is_cut_off_the_kernel_keeps_nothing(serving: Served) -> None:
    """Else it would go on sending what it has, for as long as somebody takes a little of it."""
    async with serving(ConnectionLimits(write_seconds=0.1)) as server:
        server.app.answer = b"a" * (16 * MIB)
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect(("127.0.0.1", server.port))
            client.send(b"GET /a HTTP/1.1\r\n" + HOST + b"\r\n")
            await server.until(lambda: server.table.refused["slow-reader"] == 1)
            await server.until(lambda: server.table.count == 0)
            with pytest.raises(ConnectionResetError):
                collections.deque(iter(partial(client.recv, MIB), b""), maxlen=0)


async def test_of_a_stream_that_nobody_reads_little_is_made(serving: Served) -> None:
    """The kernel would take 4 MiB of each; the client's half here keeps as little as it may."""
    async with serving(ConnectionLimits(write_seconds=0.3)) as server:
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect(("127.0.0.1", server.port))
            client.send(b"GET /stream HTTP/1.1\r\n" + HOST + b"\r\n")
            await server.until(lambda: server.table.refused["slow-reader"] == 1)
            assert 0 < server.app.streamed < MIB


async def test_a_stream_that_is_read_goes_on(server: GuardedServer) -> None:
    reader, writer = await server.connect()
    writer.write(b"GET /stream HTTP/1.1\r\n" + HOST + b"\r\n")
    async with asyncio.timeout(SECONDS):
        assert len(await reader.readexactly(8 * MIB)) == 8 * MIB
    writer.close()


async def test_who_closes_slowly_is_cut_off(serving: Served) -> None:
    """An answer that ends the connection waits no longer for its reader than another."""
    async with serving(ConnectionLimits(write_seconds=0.1)) as server:
        server.app.answer = b"a" * (16 * MIB)
        _, writer = await server.connect()
        writer.write(b"GET /a HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n")
        await server.until(lambda: bool(server.app.seen))
        await server.until(lambda: server.table.count == 0)
        writer.close()


async def test_ten_times_the_connections_keep_nobody_out(serving: Served) -> None:
    async with serving(ConnectionLimits(total=20, per_address=20, kept_for_own=2)) as server:
        held = [await server.connect() for _ in range(200)]
        assert statuses(await server.send(SMUGGLED + b"")) == [200]
        assert server.table.count <= 20
        assert server.table.refused["gave-way"] >= 180
        for _, writer in held:
            writer.close()
