"""HTTP/1.1 as the authors of two parsers test it; the server and one of them compared."""

from collections.abc import AsyncIterator
from pathlib import Path

import h11
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some
from tests.support.server.guarded_server import HOST, GuardedServer, guarded_server, statuses
from tests.support.server.http_cases import REFUSED, SERVED, chunked, request

from upwell.server.asgi.connections import ConnectionLimits

NEXT = b"GET /next HTTP/1.1\r\n" + HOST + b"\r\n"
type Requests = list[tuple[str, str, bytes]]


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[GuardedServer]:
    async with guarded_server(tmp_path, ConnectionLimits()) as running:
        yield running


@pytest.mark.parametrize("piece", [0, 1], ids=["at once", "byte by byte"])
async def test_what_is_well_formed_is_served_and_what_comes_next(
    server: GuardedServer, piece: int
) -> None:
    for case, (raw, expected) in SERVED.items():
        server.app.seen.clear()
        answer = await server.send(raw + NEXT, piece=piece)
        assert server.app.seen == [expected, ("GET", "/next", b"")], case
        assert statuses(answer) == [200, 200], case


@pytest.mark.parametrize("piece", [0, 1], ids=["at once", "byte by byte"])
async def test_nothing_is_served_of_what_is_not(server: GuardedServer, piece: int) -> None:
    for case, raw in REFUSED.items():
        server.app.seen.clear()
        answer = await server.send(raw + NEXT, piece=piece)
        assert server.app.seen == [], case
        assert statuses(answer) in ([400], [501], []), case
    assert statuses(await server.send(NEXT)) == [200]


@pytest.mark.parametrize(
    "coding", ["deflate, chunked", "chunked;q=1", "pigeons"], ids=lambda name: name.split(",")[0]
)
async def test_a_coding_that_nobody_undoes_is_refused_by_name(
    server: GuardedServer, coding: str
) -> None:
    raw = request(f"Transfer-Encoding: {coding}\r\n\r\n1\r\na\r\n0\r\n\r\n".encode())
    answer = await server.send(raw)
    assert statuses(answer) == [501]
    assert b"transfer coding" in answer
    assert server.app.seen == []


def as_h11_reads(raw: bytes) -> tuple[Requests, bool]:
    """Return the requests that a second parser finds, and whether it refuses what comes then."""
    found: Requests = []
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(raw)
    connection.receive_data(b"")
    line, body = ("", ""), b""
    try:
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Request):
                line, body = (event.method.decode(), event.target.decode()), b""
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                found.append((*line, body))
                connection.send(h11.Response(status_code=200, headers=[("Content-Length", "0")]))
                connection.send(h11.EndOfMessage())
                connection.start_next_cycle()
            else:
                return found, False
    except h11.RemoteProtocolError:
        return found, True
    except h11.LocalProtocolError:  # the connection ends with this request
        return found, False


PARTS = [
    request(b"Content-Length: 3\r\n\r\nabc"),
    request(b"Content-Length: 003\r\nX: y\r\n\r\nabc"),
    chunked(b"3\r\nabc\r\n0\r\n\r\n"),
    chunked(b"3;x=y\r\nabc\r\n0\r\nX: y\r\n\r\n"),
    request(b"Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 3\r\n\r\nabc"),
    request(b"Connection: close\r\n\r\n"),
    request(b"\r\n", b"GET /b HTTP/1.1"),
    request(b"\r\n", b"GET /c HTTP/1.0"),
]
PIECES = [
    *(b"\r", b"\n", b"\r\n", b"\0", b" ", b"\t", b"\x0b", b":", b";", b",", b"0", b"1", b"x"),
    b"Content-Length: 5\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"\r\n\r\n",
]


@some.composite
def mutated(draw: some.DrawFn) -> bytes:
    """Return requests in a row, with pieces put in or left out here and there."""
    raw = b"".join(draw(some.lists(some.sampled_from(PARTS), min_size=1, max_size=3))) + NEXT
    for _ in range(draw(some.integers(1, 3))):
        at, left_out = draw(some.integers(0, len(raw))), draw(some.integers(0, 2))
        raw = raw[:at] + draw(some.sampled_from([b"", *PIECES])) + raw[at + left_out :]
    return raw


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(raw=mutated())
async def test_no_request_is_served_that_another_parser_does_not_find(
    server: GuardedServer, raw: bytes
) -> None:
    """So a proxy in front and this server are of one opinion on where a request begins."""
    server.app.seen.clear()
    answer = statuses(await server.send(raw))
    expected, is_refused = as_h11_reads(raw)
    seen = [(method, body) for method, _, body in server.app.seen]
    both = [(method, body) for method, _, body in expected][: len(seen)]
    assert seen[: len(both)] == both
    assert is_refused or len(seen) == len(both)
    assert answer.count(200) <= len(seen)
