"""HTTP of the command line's client, against a server that answers as each test says."""

import asyncio
import gc
import warnings
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager

import pytest

from upwell.store.kubernetes_connections import (
    ConnectionFailedError,
    HttpConnections,
    HttpRequest,
    TimeLimits,
)

LIMITS = TimeLimits(whole=20)
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

type Exchange = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[None, None, None]]


class Scripted:
    """Server that counts its connections and answers heads one after another."""

    def __init__(self, *answers: bytes) -> None:
        self.answers = list(answers)
        self.connections = 0
        self.heads: list[bytes] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while self.answers:
                self.heads.append(await reader.readuntil(b"\r\n\r\n"))
                answer = self.answers.pop(0)
                writer.write(answer)
                if not answer or b"close" in answer:
                    break
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()


@asynccontextmanager
async def connected(exchange: Exchange, prefix: str = "") -> AsyncIterator[HttpConnections]:
    server = await asyncio.start_server(exchange, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        connections = HttpConnections(f"http://127.0.0.1:{port}{prefix}")
        try:
            yield connections
        finally:
            await connections.close()


async def body_of(connections: HttpConnections, request: HttpRequest) -> bytes:
    async with connections.ask(request, LIMITS) as answer:
        return await answer.read_at_most(1024)


GET = HttpRequest("GET", "/api")


async def test_a_connection_serves_one_request_after_another() -> None:
    server = Scripted(OK, OK)
    async with connected(server, "/prefix/") as connections:
        assert [await body_of(connections, GET) for _ in range(2)] == [b"ok", b"ok"]
    assert server.connections == 1
    assert server.heads[0].startswith(b"GET /prefix/api HTTP/1.1\r\nHost: 127.0.0.1:")


@pytest.mark.parametrize(
    "first",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nok",
    ],
    ids=["with a length", "to the end"],
)
async def test_a_connection_that_the_server_ends_is_not_used_again(first: bytes) -> None:
    server = Scripted(first, OK)
    async with connected(server) as connections:
        assert [await body_of(connections, GET) for _ in range(2)] == [b"ok", b"ok"]
    assert server.connections == 2


async def test_a_request_on_a_kept_connection_is_sent_again_if_it_may_be() -> None:
    server = Scripted(OK, b"", OK)
    async with connected(server) as connections:
        assert [await body_of(connections, GET) for _ in range(2)] == [b"ok", b"ok"]
    assert server.connections == 2


async def test_a_change_is_never_sent_twice() -> None:
    server = Scripted(OK, b"", OK)
    async with connected(server) as connections:
        await body_of(connections, GET)
        with pytest.raises(ConnectionFailedError, match="unanswered"):
            await body_of(connections, HttpRequest("POST", "/api", content=b"{}"))
    assert server.answers == [OK]


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nConnection: close\r\n\r\nok", "broke"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nA: close\r\n\r\n2\r\nok\r\n", "broke"),
        (b"HTTP/1.1 200 OK\r\nA: close\r\nB", "broke"),
        (b"HTTP/1.1 200 OK\r\n" + b"A: close\r\n" * 20_000 + b"\r\n", "too long"),
        (b"SSH-2.0-close\r\n", "HTTP"),
    ],
    ids=["short", "without the last chunk", "half a head", "a long head", "no HTTP"],
)
async def test_what_is_no_whole_answer_is_refused(answer: bytes, why: str) -> None:
    async with connected(Scripted(answer)) as connections:
        with pytest.raises(ConnectionFailedError, match=why):
            await body_of(connections, GET)


async def test_interim_answers_are_passed_over() -> None:
    answer = b"HTTP/1.1 103 Early Hints\r\nA: 1\r\n\r\n" + OK
    async with connected(Scripted(answer)) as connections, connections.ask(GET, LIMITS) as found:
        assert (found.status, found.header("a"), await found.read()) == (200, [], b"ok")


async def test_a_body_is_sent_as_it_comes() -> None:
    received: list[bytes] = []

    async def exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.append(await reader.readuntil(b"0\r\n\r\n"))
        writer.write(OK)
        writer.close()

    async def content() -> AsyncIterator[bytes]:
        yield b"one"
        yield b""
        yield b"two"

    async with connected(exchange) as connections:
        request = HttpRequest("POST", "/api", [("A", "b")], content())
        assert await body_of(connections, request) == b"ok"
    head, _, body = received[0].partition(b"\r\n\r\n")
    assert b"\r\nA: b\r\nTransfer-Encoding: chunked" in head
    assert body == b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n"


async def test_an_upload_ends_when_the_server_refuses_it() -> None:
    answer = b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno"
    server = Scripted(answer, OK)

    async def endless() -> AsyncIterator[bytes]:
        yield b"some"
        await asyncio.Event().wait()

    async with connected(server) as connections:
        async with connections.ask(HttpRequest("POST", "/", content=endless()), LIMITS) as found:
            assert (found.status, await found.read()) == (413, b"no")
        assert await body_of(connections, GET) == b"ok"
    assert server.connections == 2


async def test_a_fault_of_what_is_sent_is_told_at_once() -> None:
    async def content() -> AsyncIterator[bytes]:
        yield b"some"
        raise LookupError("gone")

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with connected(silent) as connections:
        with pytest.raises(LookupError, match="gone"):
            await body_of(connections, HttpRequest("POST", "/", content=content()))


async def test_a_header_stays_on_its_line() -> None:
    async with connected(Scripted(OK)) as connections:
        with pytest.raises(ConnectionFailedError, match="line break"):
            await body_of(connections, HttpRequest("GET", "/", [("A", "b\r\nC: d")]))


async def test_a_stream_that_stalls_is_given_up() -> None:
    async def stall(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        await reader.read()
        writer.close()

    async with connected(stall) as connections:
        with pytest.raises(TimeoutError):
            async with connections.ask(GET, TimeLimits(idle=0.1)) as answer:
                await answer.read()


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: a\r\nConnection: upgrade\r\n\r\nclose",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\nclose",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 4000 + b"close",
    ],
    ids=["upgrade", "no upgrade", "endless"],
)
async def test_an_answer_that_nobody_asked_for_is_refused(answer: bytes) -> None:
    async with connected(Scripted(answer)) as connections:
        with pytest.raises(ConnectionFailedError):
            await body_of(connections, GET)


async def test_an_answer_ends_where_it_says() -> None:
    server = Scripted(OK + OK.replace(b"200 OK", b"500 No"), OK)
    async with connected(server) as connections:
        async with connections.ask(GET, LIMITS) as found:
            assert (await found.read_at_most(99), found.status) == (b"ok", 200)
        assert await body_of(connections, GET) == b"ok"
    assert server.connections == 2


async def test_a_kept_connection_with_an_answer_before_the_request_is_not_used() -> None:
    told, seen = asyncio.Event(), asyncio.Event()
    heads: list[bytes] = []

    async def exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(OK)
        if len(heads) == 1:
            await told.wait()
            writer.write(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 2\r\n\r\nno")
            await writer.drain()
            seen.set()
        writer.close()

    async with connected(exchange) as connections:
        assert await body_of(connections, GET) == b"ok"
        told.set()
        await seen.wait()
        assert await body_of(connections, HttpRequest("POST", "/api", content=b"{}")) == b"ok"


async def test_an_upload_may_take_longer_than_a_silent_answer() -> None:
    async def exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        end = b""
        while end != b"0\r\n\r\n":
            end = (end + await reader.read(65536))[-5:]
        writer.write(OK)
        writer.close()

    async def slow() -> AsyncIterator[bytes]:
        loop = asyncio.get_running_loop()
        start = loop.time()
        while loop.time() < start + 4 * idle:
            yield b"some"
            await asyncio.sleep(0)

    idle = 0.2
    async with connected(exchange) as connections:
        request = HttpRequest("POST", "/", content=slow())
        async with connections.ask(request, TimeLimits(idle=idle)) as found:
            assert await found.read() == b"ok"


async def test_an_upload_that_nobody_reads_is_given_up() -> None:
    async def stuck(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await gone.wait()
        writer.close()

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield bytes(2**20)

    gone = asyncio.Event()
    async with connected(stuck) as connections:
        with pytest.raises(TimeoutError):
            async with connections.ask(
                HttpRequest("POST", "/", content=endless()), TimeLimits(idle=0.2)
            ):
                pass
        gone.set()


async def test_headers_are_read_as_utf_8() -> None:
    answer = 'HTTP/1.1 200 OK\r\nWarning: 299 - "größer"\r\nContent-Length: 2\r\n\r\nok'.encode()
    async with connected(Scripted(answer)) as connections, connections.ask(GET, LIMITS) as found:
        assert found.header("warning") == ['299 - "größer"']


async def test_a_name_that_no_host_can_have_is_refused() -> None:
    with pytest.raises(ConnectionFailedError, match="not a name of a host"):
        await body_of(HttpConnections(f"http://{'a' * 70}.x"), GET)


async def test_an_authority_that_is_not_there_is_named() -> None:
    with pytest.raises(ConnectionFailedError, match=r"trust at /none/ca\.pem: No such"):
        await body_of(HttpConnections("https://127.0.0.1:1", ca="/none/ca.pem"), GET)


async def test_connections_are_opened_a_few_at_a_time() -> None:
    silent: set[int] = set()
    most = 0

    async def exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal most
        silent.add(id(writer))
        most = max(most, len(silent))
        await reader.readuntil(b"\r\n\r\n")
        silent.remove(id(writer))
        writer.write(OK)
        writer.close()

    async with connected(exchange) as connections:
        found = await asyncio.gather(*(body_of(connections, GET) for _ in range(200)))

    assert found == [b"ok"] * 200
    assert most <= 64


async def test_who_gives_up_while_it_connects_leaves_no_socket() -> None:
    async with connected(Scripted(*[OK] * 10)) as connections:
        for turns in range(1, 10):
            asking = asyncio.ensure_future(body_of(connections, HttpRequest("GET", "/")))
            for _ in range(turns):
                await asyncio.sleep(0)
            asking.cancel()
            await asyncio.wait({asking})
            del asking
            with warnings.catch_warnings(record=True) as told:
                warnings.simplefilter("always")
                await asyncio.to_thread(gc.collect)
            assert [one for one in told if "socket.socket" in str(one.message)] == []
