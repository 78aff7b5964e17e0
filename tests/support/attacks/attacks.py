"""Attacks on a running server, each one coroutine that goes on until it is cancelled.

A new one is a function of a Target in `ATTACKS`; `tests/support/attacks/run` gives it a process.
"""

import asyncio
import hashlib
import io
import itertools
import json
import ssl
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import aiohttp

from upwell.server.asgi.mixed_tls import TLS_NAME

MIB = 1024 * 1024
NAMESPACE = "attackers"
MAPS = f"/api/v1/namespaces/{NAMESPACE}/configmaps"
_REPOSITORY = f"/v2/{NAMESPACE}/app"
_PAUSE = 0.05
"""Before another try where the server has hung up, so that one process can keep up."""


@dataclass(frozen=True)
class Target:
    """A server, and what the attacker knows: a token, or none."""

    host: str
    port: int
    token: str = ""

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    @property
    def login(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}

    @property
    def field(self) -> str:
        """Line of a head that carries the token; empty without one."""
        return f"Authorization: Bearer {self.token}\r\n" if self.token else ""

    async def connect(
        self, trust: ssl.SSLContext | None = None
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(self.host, self.port, ssl=trust)

    def session(self, connections: int = 0) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(limit=connections)
        return aiohttp.ClientSession(self.url, headers=self.login, connector=connector)


type Attack = Callable[[Target], Awaitable[None]]
type _Client = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def many(target: Target, count: int, client: _Client) -> None:
    """Keep so many connections open, each served by `client`, and anew when it has ended."""

    async def one() -> None:
        while True:
            with suppress(OSError, asyncio.IncompleteReadError):
                reader, writer = await target.connect()
                try:
                    await client(reader, writer)
                finally:
                    writer.close()
            await asyncio.sleep(_PAUSE)

    async with asyncio.TaskGroup() as group:
        for _ in range(count):
            group.create_task(one())


async def idle_connections(target: Target) -> None:
    """Open ten thousand connections, and send nothing."""

    async def wait(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read(1)

    await many(target, 10_000, wait)


async def endless_headers(target: Target) -> None:
    """Send header lines without end."""

    async def send(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n")
        for number in itertools.count():
            writer.write(b"X-%d: %b\r\n" % (number, b"a" * 1000))
            await writer.drain()

    await many(target, 20, send)


async def one_endless_header(target: Target) -> None:
    """Send one header line without end."""

    async def send(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nX: ")
        while True:
            writer.write(b"a" * 16_384)
            await writer.drain()

    await many(target, 20, send)


async def unfinished_heads(target: Target) -> None:
    """Hold heads open that lack their end, each almost as large as it may be."""

    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 60_000)
        await writer.drain()
        await reader.read(1)

    await many(target, 2000, hold)


async def pipelining(target: Target) -> None:
    """Send requests without end, and read no answer."""

    async def send(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n" * 500)
            await writer.drain()

    await many(target, 20, send)


async def endless_chunks(target: Target) -> None:
    """Send bodies of chunk extensions, of single bytes, and of trailers without end."""
    head = (
        b"POST /webhooks/registry HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    kinds = itertools.cycle(
        [
            (head + b"1;x=", b"y" * 1000),
            (head, b"1\r\na\r\n" * 200),
            (head + b"0\r\n", b"X-Trailer: " + b"z" * 1000 + b"\r\n"),
        ]
    )

    async def send(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        begin, more = next(kinds)
        writer.write(begin)
        while True:
            writer.write(more)
            await writer.drain()

    await many(target, 15, send)


async def slow_bodies(target: Target) -> None:
    """Send bodies a byte at a time."""

    async def send(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"POST /webhooks/registry HTTP/1.1\r\nHost: localhost\r\n")
        writer.write(b"Content-Length: 1000000\r\n\r\n")
        while True:
            writer.write(b"a")
            await writer.drain()
            await asyncio.sleep(1)

    await many(target, 500, send)


async def slow_readers(target: Target) -> None:
    """Ask for a large list again and again, and read nothing of it."""
    await _large_objects(target)
    head = f"GET {MAPS} HTTP/1.1\r\nHost: localhost\r\n{target.field}\r\n"

    async def ask(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(head.encode())  # a stream reads 128 KiB ahead, and no more
        await writer.drain()
        while not writer.is_closing():  # noqa: ASYNC110 - tells no event to who does not read
            await asyncio.sleep(1)

    await many(target, 400, ask)


async def watch_flood(target: Target) -> None:
    """Open watches of a large list, and read little of each."""
    await _large_objects(target)
    head = f"GET {MAPS}?watch=1 HTTP/1.1\r\nHost: localhost\r\n{target.field}\r\n"

    async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(head.encode())
        await writer.drain()
        while await reader.read(1000):  # noqa: ASYNC110 - the pace is the attack
            await asyncio.sleep(1)

    await many(target, 520, ask)


async def large_lists(target: Target) -> None:
    """List large objects on many connections at once, and read them."""
    await _large_objects(target)
    await _requests(target, 16, "GET", MAPS)


async def patch_bombs(target: Target) -> None:
    """Send patches as large as they may be."""
    body = json.dumps({"data": {"x": "y" * (2 * MIB)}}).encode()
    path = f"{MAPS}/bomb"
    headers = {"Content-Type": "application/merge-patch+json"}
    await _requests(target, 8, "PATCH", path, data=body, headers=headers)


async def withheld_bodies(target: Target) -> None:
    """Send all but the last byte of bodies as large as they may be, on many connections."""
    body = json.dumps({"metadata": {"name": "withheld"}, "data": {"x": "y" * (2 * MIB)}}).encode()
    head = (
        f"POST {MAPS} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {target.token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )

    async def send(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(head.encode() + body[:-1])
        await writer.drain()
        await reader.read(1)

    await many(target, 100, send)


async def blob_flood(target: Target) -> None:
    """Send layers to the registry on many connections, each with a pause before its end."""

    async def send(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        begin = f"Host: localhost\r\nAuthorization: Bearer {target.token}\r\n"
        uploads = f"/v2/{NAMESPACE}/app/blobs/uploads/"
        writer.write(f"POST {uploads} HTTP/1.1\r\n{begin}Content-Length: 0\r\n\r\n".encode())
        answer = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        path = answer.partition("location: ")[2].partition("\r\n")[0]
        if path:
            writer.write(
                f"PATCH {path} HTTP/1.1\r\n{begin}Content-Length: 5000000\r\n\r\n".encode()
            )
            writer.write(b"x" * (2 * MIB - 1))
            await writer.drain()
            await asyncio.sleep(5)

    await many(target, 300, send)


async def slow_pulls(target: Target) -> None:
    """Ask for a large layer on many connections, and read nothing of it."""
    blob = bytes(16 * MIB)
    digest = f"sha256:{hashlib.sha256(blob).hexdigest()}"
    uploads = f"/v2/{NAMESPACE}/pulled/blobs/uploads/?digest={digest}"
    async with target.session() as session:
        await until_created(session, uploads, lambda: io.BytesIO(blob))
    head = (
        f"GET /v2/{NAMESPACE}/pulled/blobs/{digest} HTTP/1.1\r\nHost: localhost\r\n"
        f"Authorization: Bearer {target.token}\r\n\r\n"
    )

    async def ask(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(head.encode())
        await writer.drain()
        while not writer.is_closing():  # noqa: ASYNC110 - tells no event to who does not read
            await asyncio.sleep(1)

    await many(target, 300, ask)


async def request_flood(target: Target) -> None:
    """Send cheap requests as fast as they are answered."""
    await _requests(target, 64, "GET", f"{MAPS}?limit=1")


async def token_guesses(target: Target) -> None:
    """Guess tokens."""
    guess = Target(target.host, target.port, "upwell_guess_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")
    await _requests(guess, 32, "GET", MAPS)


async def upload_flood(target: Target) -> None:
    """Begin uploads to the registry, and finish none."""
    await _requests(target, 16, "POST", f"{_REPOSITORY}/blobs/uploads/")


async def referrer_flood(target: Target) -> None:
    """Ask for referrers of digests that are not there."""
    await _requests(target, 16, "GET", f"{_REPOSITORY}/referrers/sha256:{'0' * 64}")


async def open_uploads(target: Target) -> None:
    """Begin blobs of the registry, and send them a byte at a time."""

    async def send(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = f"POST {_REPOSITORY}/blobs/uploads/ HTTP/1.1\r\nHost: localhost\r\n{target.field}"
        writer.write(f"{head}Content-Length: 0\r\n\r\n".encode())
        answer = await reader.readuntil(b"\r\n\r\n")
        place = next(
            (line[10:] for line in answer.decode().split("\r\n") if line[:10] == "location: "), "/"
        )
        head = f"PATCH {place} HTTP/1.1\r\nHost: localhost\r\n{target.field}"
        writer.write(f"{head}Content-Length: 1000000\r\n\r\n".encode())
        while True:
            writer.write(b"a")
            await writer.drain()
            await asyncio.sleep(1)

    await many(target, 100, send)


async def large_manifests(target: Target) -> None:
    """Push manifests as large as they may be, of values without end."""
    body = b'{"schemaVersion": 2, "layers": [' + b"[]," * MIB + b"[]]}"
    headers = {"Content-Type": "application/vnd.oci.image.manifest.v1+json"}
    await _requests(target, 8, "PUT", f"{_REPOSITORY}/manifests/1", data=body, headers=headers)


async def webhook_bodies(target: Target) -> None:
    """Send bodies without a token, almost as large as they may be, and not their last byte."""
    await _unfinished_bodies(target, 300, "POST /webhooks/registry", "", MIB)


async def refused_bodies(target: Target) -> None:
    """Send large bodies where they are refused unread."""
    await _requests(Target(target.host, target.port), 32, "POST", MAPS, data=b"a" * (6 * MIB))


async def connection_churn(target: Target) -> None:
    """Connect, and leave at once."""

    async def leave(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    await many(target, 200, leave)


async def unfinished_handshakes(target: Target) -> None:
    """Begin TLS, and go on as slowly as one may."""
    hello = _client_hello()

    async def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(hello)
        await writer.drain()
        while await reader.read(1):  # noqa: ASYNC110 - the pace is the attack
            await asyncio.sleep(1)

    await many(target, 1000, begin)


async def handshake_flood(target: Target) -> None:
    """Make the server sign handshakes, and leave."""
    hello = _client_hello()

    async def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(hello)
        await reader.read(100)

    await many(target, 32, begin)


async def login_guesses(target: Target) -> None:
    """Guess logins of the registry, and links that open what they are for."""
    guess = Target(target.host, target.port)
    login = aiohttp.BasicAuth("anyone", "upwell_guess_bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb")
    async with asyncio.TaskGroup() as group:
        group.create_task(_requests(guess, 16, "GET", "/v2/", auth=login))
        group.create_task(_requests(guess, 16, "GET", "/approvals/" + "a" * 200))


async def upgrade_flood(target: Target) -> None:
    """Ask for WebSockets into containers that are not there, and for logs to follow."""
    pods = f"/api/v1/namespaces/{NAMESPACE}/pods/none"
    headers = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
        "Sec-WebSocket-Protocol": "v5.channel.k8s.io",
    }
    async with asyncio.TaskGroup() as group:
        command = f"{pods}/exec?command=true&stdin=true"
        group.create_task(_requests(target, 16, "GET", command, headers=headers))
        group.create_task(_requests(target, 16, "GET", f"{pods}/log?follow=true"))


async def garbage(target: Target) -> None:
    """Send what is no HTTP."""

    async def send(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"\x00\xff PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" * 20)
        await writer.drain()
        await reader.read()

    await many(target, 100, send)


ATTACKS: Mapping[str, Attack] = {
    attack.__name__.replace("_", "-"): attack
    for attack in (
        idle_connections,
        endless_headers,
        one_endless_header,
        unfinished_heads,
        pipelining,
        endless_chunks,
        slow_bodies,
        slow_readers,
        watch_flood,
        large_lists,
        patch_bombs,
        withheld_bodies,
        blob_flood,
        slow_pulls,
        request_flood,
        token_guesses,
        login_guesses,
        upload_flood,
        open_uploads,
        large_manifests,
        referrer_flood,
        webhook_bodies,
        refused_bodies,
        connection_churn,
        unfinished_handshakes,
        handshake_flood,
        upgrade_flood,
        garbage,
    )
}


async def _large_objects(target: Target, count: int = 18, size: int = 100_000) -> None:
    """Create ConfigMaps of 1.8 MB in all, unless they are there."""
    async with target.session() as session:
        for number in range(count):
            body = {"metadata": {"name": f"large-{number}"}, "data": {"x": "y" * size}}
            text = json.dumps(body).encode()
            await until_created(session, MAPS, partial(io.BytesIO, text))


async def until_created(
    session: aiohttp.ClientSession, path: str, body: Callable[[], io.BytesIO]
) -> None:
    """Post until it is there: other attacks go on, and may be in the way."""
    headers = {"Content-Type": "application/json"}
    while True:
        with suppress(aiohttp.ClientError, OSError):
            async with session.post(path, data=body(), headers=headers) as answer:
                await answer.read()
                if answer.status in {201, 409}:
                    return
        await asyncio.sleep(_PAUSE)


async def _unfinished_bodies(
    target: Target, count: int, request: str, field: str, size: int
) -> None:
    head = f"{request} HTTP/1.1\r\nHost: localhost\r\n{field}Content-Length: {size}\r\n\r\n"

    async def send(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(head.encode())
        for _ in range(size // 65_536 - 1):
            writer.write(b" " * 65_536)
            await writer.drain()
        await reader.read(1)

    await many(target, count, send)


def _client_hello() -> bytes:
    """Return what a client of TLS sends first to the server by its name."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.create_default_context()
    client = context.wrap_bio(incoming, outgoing, server_hostname=TLS_NAME)
    with suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


async def _requests(target: Target, clients: int, method: str, path: str, **arguments: Any) -> None:
    """Send a request again and again from so many clients, and read the answers."""

    async def one(session: aiohttp.ClientSession) -> None:
        while True:
            try:
                async with session.request(method, path, **arguments) as answer:
                    await answer.read()
                if answer.status == 429:
                    await asyncio.sleep(_PAUSE)
            except (aiohttp.ClientError, OSError):
                await asyncio.sleep(_PAUSE)

    async with target.session(clients) as session, asyncio.TaskGroup() as group:
        for _ in range(clients):
            group.create_task(one(session))
