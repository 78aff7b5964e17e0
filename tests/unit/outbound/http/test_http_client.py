"""The client of HTTP/1.1, against servers that answer byte by byte what a test says."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from upwell.outbound.dialing import Dialer, unrestricted
from upwell.outbound.http.client import OutboundClient, OutboundResponse
from upwell.outbound.http.errors import (
    BrokenBodyError,
    DisconnectedError,
    InvalidRequestError,
    MalformedAnswerError,
    NoConnectionError,
    RedirectError,
)
from upwell.outbound.http.messages import Body, HttpOrigin, OutboundRequest
from upwell.outbound.http.pool import ConnectionPool
from upwell.outbound.http.urls import HttpUrl
from upwell.outbound.policy import ForbiddenAddressError, OutboundPolicy

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
DEADLINE = 20.0


@dataclass
class ScriptedPeer:
    """Server that answers the requests of each connection in turn with `answers`."""

    answers: Callable[[int, str], bytes | None]
    """By the number of a request and its head; None ends the connection without an answer."""
    heads: list[str] = field(default_factory=list)
    connections: int = 0
    port: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                self.heads.append(head)
                answer = self.answers(len(self.heads) - 1, head)
                if answer is None:
                    return
                writer.write(answer)
                await writer.drain()
                if b"\r\nConnection: close" in answer:
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()


@asynccontextmanager
async def peer(answers: Callable[[int, str], bytes | None]) -> AsyncIterator[ScriptedPeer]:
    serving = ScriptedPeer(answers)
    server = await asyncio.start_server(serving.serve, "127.0.0.1", 0)
    serving.port = server.sockets[0].getsockname()[1]
    async with server:
        yield serving


@asynccontextmanager
async def http_client(
    dialer: Dialer | None = None, limit: int = 8
) -> AsyncIterator[OutboundClient]:
    client = OutboundClient(
        ConnectionPool(dialer or unrestricted(), limit, 10.0, 30.0), {"X-Of": "us"}
    )
    try:
        async with asyncio.timeout(DEADLINE):
            yield client
    finally:
        await client.aclose()


def request(port: int, method: str = "GET", target: str = "/", **more: object) -> OutboundRequest:
    origin = HttpOrigin.of(HttpUrl.parse(f"http://127.0.0.1:{port}"), ssl.create_default_context)
    defaults: dict[str, object] = {"headers": {}, "trust": ssl.create_default_context}
    return OutboundRequest(method, origin, target, **{**defaults, **more})  # type: ignore[arg-type]


async def whole(response: OutboundResponse) -> bytes:
    pieces = bytearray()
    while piece := await response.read():
        pieces += piece
    response.release()
    return bytes(pieces)


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (OK, b"ok"),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + OK, b"ok"),
        (
            CHUNKED,
            b"abcde",
        ),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", b""),
    ],
)
async def test_a_connection_serves_the_next_request(answer: bytes, body: bytes) -> None:
    async with peer(lambda _number, _head: answer) as server, http_client() as client:
        for _ in range(3):
            assert await whole(await client.send(request(server.port))) == body
        assert server.connections == 1
        assert (
            server.heads[0]
            == f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nX-Of: us\r\n\r\n"
        )


async def test_a_head_has_no_body_whatever_it_states() -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2048\r\ndocker-content-DIGEST: it \r\n\r\n"
    async with peer(lambda _number, _head: answer) as server, http_client() as client:
        for _ in range(3):
            response = await client.send(request(server.port, "HEAD"))
            assert (response.content_length, await whole(response)) == (2048, b"")
            assert response.headers["Docker-Content-Digest"] == "it"
        assert server.connections == 1


async def test_a_body_without_a_size_ends_with_its_connection() -> None:
    answer = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nall of it"
    async with peer(lambda _number, _head: answer) as server, http_client() as client:
        for _ in range(2):
            assert await whole(await client.send(request(server.port))) == b"all of it"
        assert server.connections == 2


@pytest.mark.parametrize(
    ("method", "extra"),
    [("HEAD", b"ok"), ("GET", OK), ("GET", b"garbage\r\n\r\n")],
)
async def test_what_follows_an_answer_is_not_the_next_one(method: str, extra: bytes) -> None:
    first = OK.removesuffix(b"ok") if method == "HEAD" else OK
    evil = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood"
    answers = {0: first + extra, 1: evil}
    async with peer(lambda number, _head: answers[number]) as server, http_client() as client:
        await whole(await client.send(request(server.port, method)))
        assert await whole(await client.send(request(server.port))) == b"good"
        assert server.connections == 2


async def test_what_a_resting_connection_says_is_believed_by_nobody() -> None:
    dropped = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK)
        writer.write(OK.replace(b"ok", b"no"))  # an answer before its question
        if not await reader.read():
            dropped.set()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server, http_client() as client:
        port = server.sockets[0].getsockname()[1]
        assert await whole(await client.send(request(port))) == b"ok"
        await dropped.wait()
        assert await whole(await client.send(request(port))) == b"ok"


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE"])
async def test_a_connection_that_was_closed_at_rest_costs_nothing(method: str) -> None:
    none = OK.removesuffix(b"ok") if method == "HEAD" else OK

    def answers(number: int, _head: str) -> bytes | None:
        return None if number == 1 else none

    async with peer(answers) as server, http_client() as client:
        for _ in range(2):
            response = await client.send(request(server.port, method))
            assert response.status == 200
            await whole(response)
        assert len(server.heads) == 3


async def test_what_may_have_been_done_is_not_asked_twice() -> None:
    def answers(number: int, _head: str) -> bytes | None:
        return None if number == 1 else OK

    async with peer(answers) as server, http_client() as client:
        await whole(await client.send(request(server.port, "POST")))
        with pytest.raises(DisconnectedError):
            await client.send(request(server.port, "POST"))
        assert len(server.heads) == 2


async def test_a_new_connection_that_breaks_is_not_tried_again() -> None:
    async with peer(lambda _number, _head: None) as server, http_client() as client:
        with pytest.raises(DisconnectedError):
            await client.send(request(server.port))
        assert len(server.heads) == 1


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: two\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\n" + b"X-Long: " + b"x" * 400_000,
        b"HTTP/1.1 103 Early Hints\r\n\r\n" * 20_000,
    ],
)
async def test_what_is_no_answer_of_a_bounded_size_is_told(answer: bytes) -> None:
    async with peer(lambda _number, _head: answer) as server, http_client() as client:
        with pytest.raises(MalformedAnswerError):
            await client.send(request(server.port))


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 9\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n",
    ],
)
async def test_a_body_that_breaks_off_is_no_whole_one(answer: bytes) -> None:
    async with peer(lambda _number, _head: answer) as server, http_client() as client:
        with pytest.raises(BrokenBodyError):
            await whole(await client.send(request(server.port)))


async def test_an_answer_that_does_not_come_ends_the_request() -> None:
    async with peer(lambda _number, _head: b"") as server, http_client() as client:
        with pytest.raises(TimeoutError):
            await client.send(request(server.port, seconds=0.2))
        with pytest.raises(TimeoutError):  # nor did it leave the connection to others
            await client.send(request(server.port, seconds=0.2))
        assert server.connections == 2


async def test_a_body_that_stops_ends_the_request() -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort"
    async with peer(lambda _number, _head: answer) as server, http_client() as client:
        response = await client.send(request(server.port, idle=0.2))
        assert await response.read() == b"short"
        with pytest.raises(TimeoutError):
            await response.read()
        response.release()


async def test_a_redirect_takes_no_login_elsewhere() -> None:
    async with peer(lambda _number, _head: OK) as other:
        moved = {
            0: b"HTTP/1.1 307 T\r\nLocation: /there?a=b\r\nContent-Length: 0\r\n\r\n",
            1: b"HTTP/1.1 307 T\r\nLocation: http://127.0.0.1:%d/x\r\nContent-Length: 0\r\n\r\n"
            % other.port,
        }
        async with peer(lambda number, _head: moved[number]) as server, http_client() as client:
            headers = {"Authorization": "Basic c2VjcmV0", "Accept": "a/b"}
            asked = request(server.port, headers=headers, redirects=5)
            response = await client.send(asked)
            assert response.redirected
            assert str(response.url) == f"http://127.0.0.1:{other.port}/x"
            assert await whole(response) == b"ok"
            assert server.heads[1].startswith("GET /there?a=b HTTP/1.1\r\n")
            assert "c2VjcmV0" in server.heads[1]
            assert "c2VjcmV0" not in other.heads[0]
            assert "Accept: a/b\r\n" in other.heads[0]


@pytest.mark.parametrize(
    "location", ["/", "http://", "ftp://127.0.0.1/", "http://127.0.0.1:99999/"]
)
async def test_redirects_end(location: str) -> None:
    answer = f"HTTP/1.1 302 F\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode()
    async with peer(lambda _number, _head: answer) as server, http_client() as client:
        with pytest.raises(RedirectError):
            await client.send(request(server.port, redirects=5))
        assert len(server.heads) <= 6


async def test_a_redirect_leads_to_no_other_scheme_than_was_allowed() -> None:
    async with peer(lambda _number, _head: OK) as other:
        answer = b"HTTP/1.1 302 F\r\nLocation: http://127.0.0.1:%d/\r\nContent-Length: 0\r\n\r\n"
        async with (
            peer(lambda _number, _head: answer % other.port) as server,
            http_client() as client,
        ):
            with pytest.raises(RedirectError, match="plain http"):
                await client.send(request(server.port, redirects=5, schemes=("https",)))
        assert not other.heads


async def test_connections_and_redirects_go_by_the_policy() -> None:
    async with peer(lambda _number, _head: OK) as forbidden:
        answer = (
            b"HTTP/1.1 302 F\r\nLocation: http://127.0.0.1:%d/\r\nContent-Length: 0\r\n\r\n"
            % forbidden.port
        )
        async with peer(lambda _number, _head: answer) as server:
            dialer = Dialer(OutboundPolicy.of([f"127.0.0.1:{server.port}"]))
            async with http_client(dialer) as client:
                for asked in (request(server.port, redirects=5), request(forbidden.port)):
                    with pytest.raises(NoConnectionError) as caught:
                        await client.send(asked)
                    assert isinstance(caught.value.os_error, ForbiddenAddressError)
            dialer.close()
        assert forbidden.connections == 0


async def endless() -> AsyncIterator[bytes]:
    while True:
        yield bytes(64 * 1024)


async def test_an_upload_that_is_refused_stops() -> None:
    refusal = b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno"
    async with peer(lambda _number, _head: refusal) as server, http_client() as client:
        body = Body(endless, 10**15)
        response = await client.send(request(server.port, "PUT", body=body))
        assert (response.status, await whole(response)) == (413, b"no")
        # What is left of the body must not be taken for a request.
        await whole(await client.send(request(server.port)))
        assert server.connections == 2


async def test_an_upload_whose_source_fails_ends_its_connection() -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"some"
        raise LookupError("the source is gone")

    async with peer(lambda _number, _head: b"") as server, http_client(limit=1) as client:
        for _ in range(2):  # the one place is free again
            with pytest.raises(LookupError, match="the source is gone"):
                await client.send(request(server.port, "PUT", body=Body(broken, 100)))
        assert server.connections == 2


@pytest.mark.parametrize("size", [2, 9])
async def test_an_upload_has_the_size_that_it_states(size: int) -> None:
    async def four() -> AsyncIterator[bytes]:
        yield b"four"

    async with peer(lambda _number, _head: b"") as server, http_client() as client:
        with pytest.raises(InvalidRequestError):
            await client.send(request(server.port, "PUT", body=Body(four, size)))


@pytest.mark.parametrize(
    "asked",
    [
        {"target": "/a b"},
        {"target": "/a\r\nX: y"},
        {"target": "http://elsewhere/"},
        {"headers": {"Accept": "a\r\nX: y"}},
        {"headers": {"Accept": "a\0"}},
    ],
)
async def test_what_would_break_up_a_request_is_not_sent(asked: dict[str, object]) -> None:
    async with peer(lambda _number, _head: OK) as server, http_client() as client:
        with pytest.raises(InvalidRequestError):
            await client.send(request(server.port, **asked))  # type: ignore[arg-type]
        assert server.connections == 0


async def test_a_body_that_nobody_reads_stays_with_its_sender() -> None:
    sent = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
        try:
            while True:
                writer.write(bytes(64 * 1024))
                await writer.drain()
                sent += 64 * 1024
        except ConnectionError:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server, http_client() as client:
        response = await client.send(request(server.sockets[0].getsockname()[1]))
        last = -1
        while sent != last:  # the kernel's buffers fill up, and no more
            last = sent
            await asyncio.sleep(0.1)
        assert sent < 50_000_000
        received, wanted = 0, sent + 1_000_000
        while received < wanted:  # and goes on for who reads
            received += len(await response.read())
        response.release()


async def test_requests_wait_for_a_place_and_one_that_is_cancelled_leaves_its_own() -> None:
    held = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if b"/slow" in head:
            held.set()
            await reader.read()
        else:
            writer.write(OK)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, http_client(limit=1) as client:
        slow = asyncio.create_task(client.send(request(port, target="/slow")))
        await held.wait()
        with pytest.raises(TimeoutError):
            await client.send(request(port, seconds=0.1))
        waiting = asyncio.create_task(client.send(request(port)))
        slow.cancel()
        await asyncio.gather(slow, return_exceptions=True)
        assert await whole(await waiting) == b"ok"


async def test_closing_ends_requests_under_way() -> None:
    asked = asyncio.Event()

    def answers(_number: int, _head: str) -> bytes:
        asked.set()
        return b""

    async with peer(answers) as server, http_client() as client:
        task: Awaitable[OutboundResponse] = asyncio.create_task(client.send(request(server.port)))
        await asked.wait()
        await client.aclose()
        with pytest.raises(DisconnectedError):
            await task
