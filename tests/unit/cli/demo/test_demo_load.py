"""The load of the demo counts every request, and hides no failure."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest

from upwell.cli.demo.load import Load, LoadConnection, LoadError, LoadStats, read_answer

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n" + b'{"glibc": "1"}\n'
START = datetime(2026, 3, 1, tzinfo=UTC)


class ScriptedServer:
    """A server that answers each request with the next of its answers, the last for ever."""

    def __init__(self, answers: Sequence[bytes]) -> None:
        self._answers = list(answers)
        self.connections = 0
        self.requests: list[bytes] = []
        self.port = 0

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                self.requests.append(await reader.readuntil(b"\r\n\r\n"))
                answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
                if not answer:
                    return
                writer.write(answer)
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()


@asynccontextmanager
async def server_with(*answers: bytes) -> AsyncIterator[ScriptedServer]:
    server = ScriptedServer(answers)
    async with await asyncio.start_server(server.handle, "127.0.0.1", 0) as listener:
        server.port = listener.sockets[0].getsockname()[1]
        yield server


async def test_a_kept_connection_is_used_again_and_the_other_kind_is_not() -> None:
    async with server_with(OK) as server:
        connection = LoadConnection(server.port, "shop.localhost")
        assert [await connection.ask(keep=True) for _ in range(3)] == ["1"] * 3
        assert server.connections == 1
        connection.close()
        fresh = LoadConnection(server.port, "shop.localhost")
        assert [await fresh.ask(keep=False) for _ in range(3)] == ["1"] * 3
        assert server.connections == 4
    assert b"\r\nHost: shop.localhost\r\n" in server.requests[0]


async def test_a_server_that_closes_politely_loses_no_request() -> None:
    closing = OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1)
    async with server_with(closing, OK) as server:
        connection = LoadConnection(server.port, "x")
        assert [await connection.ask(keep=True) for _ in range(2)] == ["1", "1"]
        connection.close()
    assert server.connections == 2


async def test_a_request_that_gets_no_answer_is_not_tried_again() -> None:
    async with server_with(OK, b"", OK) as server:
        connection = LoadConnection(server.port, "x")
        await connection.ask(keep=True)
        with pytest.raises(LoadError, match="IncompleteReadError"):
            await connection.ask(keep=True)
        assert len(server.requests) == 2
        assert await connection.ask(keep=False) == "1"


async def test_nobody_who_listens_is_a_failure() -> None:
    async with server_with(OK) as server:
        port = server.port
    with pytest.raises(LoadError, match="Connect"):
        await LoadConnection(port, "x").ask(keep=True)


@pytest.mark.parametrize(
    ("head", "body", "reason"),
    [
        (b"HTTP/1.1 503 Service Unavailable\r\n\r\n", b"", "HTTP/1.1 503 Service Unavailable"),
        (b"SSH-2.0\r\n\r\n", b"", "SSH-2.0"),
        (b"HTTP/1.1 200 OK\r\n\r\n", b"<html>", "not JSON"),
        (b"HTTP/1.1 200 OK\r\n\r\n", b"[]", "no glibc version"),
        (b"HTTP/1.1 200 OK\r\n\r\n", b'{"glibc": ""}', "no glibc version"),
    ],
)
def test_any_other_answer_is_a_failure(head: bytes, body: bytes, reason: str) -> None:
    with pytest.raises(LoadError, match=reason):
        read_answer(head, body)


async def test_a_body_without_a_reasonable_length_is_a_failure() -> None:
    for head in (
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n",
    ):
        async with server_with(head) as server:
            with pytest.raises(LoadError, match="Content-Length"):
                await LoadConnection(server.port, "x").ask(keep=True)


def test_a_tally_knows_since_when_all_answers_are_the_same() -> None:
    stats = LoadStats("x")
    for second, version in enumerate(["1", "1", "2", "1", "2", "2"]):
        stats.answered(version, START + timedelta(seconds=second))
    stats.lost("gone", START)
    assert (stats.version, stats.since) == ("2", START + timedelta(seconds=4))
    assert (stats.requests, stats.failed, dict(stats.answers)) == (7, 1, {"1": 3, "2": 3})


async def test_the_load_counts_what_the_server_got_and_ends_in_order() -> None:
    stats = LoadStats("x")
    async with server_with(OK, b"", OK) as server:
        load = Load(server.port, clients=2, per_second=200.0)
        async with load.running([stats]), asyncio.timeout(30):
            while stats.requests < 20:  # noqa: ASYNC110 - the load has no event for it
                await asyncio.sleep(0.01)
    assert stats.requests == len(server.requests)
    assert stats.failed == 1
    assert "IncompleteReadError" in stats.failures[0][1]
