"""Small HTTP servers that say who they are, and a load that tolerates no failure."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp

from upwell.router.interface import BackendServer

_names = itertools.count()


@dataclass
class NamedEndpoint:
    """One endpoint: answers every request with its name, closing nothing by itself."""

    name: str
    port: int

    @property
    def endpoint(self) -> BackendServer:
        return BackendServer(self.name, "127.0.0.1", self.port)

    @property
    def draining(self) -> BackendServer:
        return BackendServer(self.name, "127.0.0.1", self.port, draining=True)


@asynccontextmanager
async def named_endpoint(name: str = "", patience: float = 60) -> AsyncIterator[NamedEndpoint]:
    """Serve until the block ends, then drop every connection, as a container that stops does.

    A connection on which no further request comes for `patience` seconds is closed, as every server
    does some day.
    """
    name = name or f"site-{next(_names)}"
    writers: set[asyncio.StreamWriter] = set()
    is_over = False

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if is_over:  # it was accepted at the last moment
            writer.transport.abort()
            return
        writers.add(writer)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, TimeoutError):
            for number in itertools.count():
                async with asyncio.timeout(patience if number else None):
                    await reader.readuntil(b"\r\n\r\n")
                await asyncio.sleep(0.002)  # a request takes time: it can be cut in the middle
                head = f"HTTP/1.1 200 OK\r\ncontent-length: {len(name)}\r\n\r\n"
                writer.write((head + name).encode())
                await writer.drain()
        writers.discard(writer)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        yield NamedEndpoint(name, server.sockets[0].getsockname()[1])
    finally:
        is_over = True
        server.close()
        for writer in writers:
            writer.transport.abort()


@dataclass
class ClientLoad:
    """Answers and faults that the clients of a load saw."""

    answers: dict[str, int] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    async def answered(self) -> int:
        return sum(self.answers.values())

    async def names(self) -> set[str]:
        return set(self.answers)


@asynccontextmanager
async def load(url: str, host: str, clients: int = 8) -> AsyncIterator[ClientLoad]:
    """Keep requests coming over connections that stay open.

    POST, since aiohttp repeats a GET in silence when its connection turns out to be closed.
    """
    seen = ClientLoad()

    async def ask(session: aiohttp.ClientSession) -> None:
        while True:
            try:
                async with session.post(url, headers={"Host": host}) as response:
                    text = await response.text()
            except aiohttp.ClientError as error:
                seen.failures.append(repr(error))
            else:
                if response.status == 200:
                    seen.answers[text] = seen.answers.get(text, 0) + 1
                else:
                    seen.failures.append(f"{response.status} {text}")

    async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as group:
        tasks = [group.create_task(ask(session)) for _ in range(clients)]
        yield seen
        for task in tasks:
            task.cancel()


async def fetch(address: str, host: str, path: str = "/") -> tuple[int, str]:
    """One request on a connection of its own: status and text."""
    connector = aiohttp.TCPConnector(force_close=True)
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.get(f"http://{address}{path}", headers={"Host": host}) as response,
    ):
        return response.status, (await response.text()).strip()
