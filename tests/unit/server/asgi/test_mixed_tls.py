"""One port for those who begin with TLS and ask for the server's name, and for plain HTTP."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import pytest
from starlette.types import Receive, Scope, Send

from upwell.server.asgi.connections import (
    ConnectionLimits,
    ConnectionTable,
    TrackedConnection,
    keep_expiring,
)
from upwell.server.asgi.mixed_tls import TLS_NAME, take_connections
from upwell.server.asgi.serving import serve
from upwell.server.asgi.tls import generated, server_context

SECONDS = 10
OF_REGISTRY_CLIENTS = "ECDHE+AESGCM"
"""Cipher suites of Docker's and Podman's clients, for TLS 1.2."""


async def tell_scheme(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": scope["scheme"].encode()})


class NotExpected(asyncio.Protocol):
    """A protocol that is never made."""

    def __init__(self, tracked: TrackedConnection) -> None:
        raise AssertionError(f"{tracked.address} has sent nothing")


@dataclass
class ListeningServer:
    port: int
    trust: ssl.SSLContext
    shutdown: asyncio.Event

    async def ask(self, scheme: str, name: str | None = None) -> str:
        url = f"{scheme}://127.0.0.1:{self.port}/"
        async with (
            asyncio.timeout(SECONDS),
            aiohttp.ClientSession() as session,
            session.get(url, ssl=self.trust, server_hostname=name) as answer,
        ):
            return await answer.text()


@contextlib.asynccontextmanager
async def served(
    folder: Path, *, plain: bool, table: ConnectionTable | None = None
) -> AsyncIterator[ListeningServer]:
    certificate = generated(folder / "tls", ["127.0.0.1", "localhost", TLS_NAME], datetime.now(UTC))
    trust = ssl.create_default_context(cafile=certificate.authority)
    shutdown = asyncio.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        place = ListeningServer(listener.getsockname()[1], trust, shutdown)
        context = server_context(certificate)
        serving = asyncio.create_task(
            serve(
                tell_scheme,
                listener,
                shutdown,
                tls=context,
                plain=plain,
                grace_seconds=1,
                table=table,
            )
        )
        try:
            yield place
        finally:
            shutdown.set()
            async with asyncio.timeout(SECONDS):
                await serving


async def test_both_are_spoken_on_one_port(tmp_path: Path) -> None:
    async with served(tmp_path, plain=True) as place:
        assert await place.ask("http") == "http"
        assert await place.ask("https", TLS_NAME) == "https"
        assert await place.ask("http") == "http"


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
async def test_who_tries_tls_without_the_name_may_do_without_it(tmp_path: Path, name: str) -> None:
    async with served(tmp_path, plain=True) as place:
        place.trust.set_ciphers(OF_REGISTRY_CLIENTS)
        with pytest.raises(aiohttp.ClientConnectionError):
            await place.ask("https", name)
        assert await place.ask("http") == "http"


async def test_who_tries_tls_is_told_in_http_to_do_without_it(tmp_path: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_ciphers(OF_REGISTRY_CLIENTS)
    hello = ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), hello, server_hostname="localhost").do_handshake()
    async with served(tmp_path, plain=True) as place, asyncio.timeout(SECONDS):
        reader, writer = await asyncio.open_connection("127.0.0.1", place.port)
        writer.write(hello.read())
        assert (await reader.read()).startswith(b"HTTP/1.1 400 ")
        writer.close()


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
async def test_who_takes_chacha20_is_answered_by_any_name(tmp_path: Path, name: str) -> None:
    """The WebSockets of `oc exec` and `oc port-forward` name no protocol."""
    async with served(tmp_path, plain=True) as place:
        assert await place.ask("https", name) == "https"
        assert await place.ask("http") == "http"


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
async def test_who_offers_http_1_is_answered_by_any_name(tmp_path: Path, name: str) -> None:
    """Libraries of Python do, curl and browsers: the clients of `docker pull` do not."""
    async with served(tmp_path, plain=True) as place:
        place.trust.set_alpn_protocols(["http/1.1"])
        assert await place.ask("https", name) == "https"
        assert await place.ask("http") == "http"


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
async def test_who_offers_http_2_is_answered_by_any_name(tmp_path: Path, name: str) -> None:
    """`oc login https://127.0.0.1:7080` sends no name; registry clients do not offer it."""
    async with served(tmp_path, plain=True) as place:
        place.trust.set_alpn_protocols(["h2", "http/1.1"])
        async with asyncio.timeout(SECONDS):
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", place.port, ssl=place.trust, server_hostname=name
            )
            writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            answer = await reader.read()
        writer.close()
        assert answer.startswith(b"HTTP/1.1 200")
        assert answer.endswith(b"https\r\n0\r\n\r\n")
        assert await place.ask("http") == "http"


async def test_where_all_is_encrypted_any_name_of_the_certificate_will_do(tmp_path: Path) -> None:
    async with served(tmp_path, plain=False) as place:
        assert await place.ask("https", "127.0.0.1") == "https"
        assert await place.ask("https", TLS_NAME) == "https"
        with pytest.raises(aiohttp.ClientError):
            await place.ask("http")


async def test_who_connects_and_says_nothing_holds_nobody_up(tmp_path: Path) -> None:
    async with served(tmp_path, plain=True) as place:
        reader, writer = await asyncio.open_connection("127.0.0.1", place.port)
        assert await place.ask("http") == "http"
        place.shutdown.set()
        async with asyncio.timeout(SECONDS):
            assert await reader.read() == b""
        writer.close()


async def test_who_goes_before_the_first_byte_is_forgotten(tmp_path: Path) -> None:
    async with served(tmp_path, plain=True) as place:
        for begin in (b"", b"\x16", b"\x16\x03\x01\x02\x00nonsense", b"GET"):
            _, writer = await asyncio.open_connection("127.0.0.1", place.port)
            writer.write(begin)
            writer.close()
            await writer.wait_closed()
        assert await place.ask("https", TLS_NAME) == "https"


async def test_who_waits_in_the_kernel_is_taken_in_portions(tmp_path: Path) -> None:
    """One at each turn of a busy loop is slower than a flood: the kernel then drops others."""
    certificate = generated(tmp_path / "tls", ["127.0.0.1"], datetime.now(UTC))
    table, count = ConnectionTable(), 400
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=count))
        for _ in range(count):
            stack.enter_context(socket.create_connection(listener.getsockname(), SECONDS))
        taking = asyncio.create_task(
            take_connections(listener, NotExpected, server_context(certificate), table, plain=True)
        )
        turns = 0
        while table.count < count and turns < count:
            await asyncio.sleep(0)
            turns += 1
        taking.cancel()
        await asyncio.gather(taking, return_exceptions=True)
    assert turns < count / 20
    assert table.count == 0


async def test_nothing_is_kept_for_a_connection_before_its_first_byte(tmp_path: Path) -> None:
    """No protocol and no TLS object, whether all is encrypted or not."""
    certificate = generated(tmp_path / "tls", ["127.0.0.1"], datetime.now(UTC))
    for plain in (True, False):
        table = ConnectionTable(ConnectionLimits(head_seconds=0.1))
        with socket.create_server(("127.0.0.1", 0)) as listener:
            taking = asyncio.create_task(
                take_connections(
                    listener, NotExpected, server_context(certificate), table, plain=plain
                )
            )
            expiring = asyncio.create_task(keep_expiring(table))
            reader, writer = await asyncio.open_connection(*listener.getsockname())
            async with asyncio.timeout(SECONDS):
                assert await reader.read() == b""
            writer.close()
            assert table.refused == {"unused": 1}
            for task in (taking, expiring):
                task.cancel()
            await asyncio.gather(taking, expiring, return_exceptions=True)


async def test_handshakes_that_do_not_end_keep_nobody_out(tmp_path: Path) -> None:
    """Each costs a TLS object, so that so many are under way at once and no more."""
    table = ConnectionTable(ConnectionLimits(handshakes=2))
    async with served(tmp_path, plain=False, table=table) as place:
        begun = [await asyncio.open_connection("127.0.0.1", place.port) for _ in range(5)]
        for _, writer in begun:
            writer.write(b"\x16\x03\x01")
        async with asyncio.timeout(SECONDS):
            while table.refused["handshake"] < 3 or table.count > 2:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert await place.ask("https", TLS_NAME) == "https"
        assert table.refused == {"handshake": 4}
        for _, writer in begun:
            writer.close()
