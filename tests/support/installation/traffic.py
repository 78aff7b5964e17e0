"""Requests from outside, each on its own or on a kept connection; a lost one is never repeated."""

import asyncio
import re
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

_PAUSE_SECONDS = 0.06
_PATIENCE_SECONDS = 10.0
_LENGTH = re.compile(rb"(?im)^content-length: *(\d+)\r?$")
_CLOSE = re.compile(rb"(?im)^connection: *close\r?$")


@dataclass
class HostAnswers:
    """Answers to the clients of one host."""

    host: str
    answers: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    newest: str = ""

    def took(self, answer: str) -> None:
        self.answers[answer] += 1
        self.newest = answer


class TrafficClient:
    """Asks a host behind the router; by hand, since libraries try again what was lost."""

    def __init__(self, port: int, host: str) -> None:
        self._port = port
        self._host = host
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, *, keep: bool = False) -> tuple[int, str]:
        """Return status and text of one answer; raises OSError, EOFError or TimeoutError."""
        usable = False
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                head, body = await self._exchange(keep=keep)
            usable = keep and not _CLOSE.search(head)
        finally:
            if not usable:
                self.close()
        return int(head.split()[1]), body.decode().strip()

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None

    async def _exchange(self, *, keep: bool) -> tuple[bytes, bytes]:
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        ending = "" if keep else "Connection: close\r\n"
        writer.write(f"GET / HTTP/1.1\r\nHost: {self._host}\r\n{ending}\r\n".encode())
        await writer.drain()
        head = await reader.readuntil(b"\r\n\r\n")
        length = _LENGTH.search(head)
        return head, await (reader.readexactly(int(length[1])) if length else reader.read())


async def answer(port: int, host: str) -> str:
    """Return what a host answers now; what went wrong, if anything did."""
    try:
        status, text = await TrafficClient(port, host).ask()
    except (OSError, EOFError, TimeoutError) as error:
        return repr(error)
    return text if status == 200 else str(status)


@asynccontextmanager
async def traffic(port: int, hosts: Sequence[str]) -> AsyncIterator[dict[str, HostAnswers]]:
    """Ask every host all the time while the block lasts, each by two clients.

    They have a thread of their own: what blocks the test's own loop keeps no answer waiting.
    """
    seen = {host: HostAnswers(host) for host in hosts}
    stop = threading.Event()

    async def ask_all() -> None:
        async with asyncio.TaskGroup() as group:
            for one in seen.values():
                for keep in (True, False):
                    group.create_task(_ask(port, one, stop, keep=keep))

    asking = asyncio.create_task(asyncio.to_thread(asyncio.run, ask_all()))
    try:
        yield seen
    finally:
        stop.set()
        await asking


async def _ask(port: int, seen: HostAnswers, stop: threading.Event, *, keep: bool) -> None:
    client = TrafficClient(port, seen.host)
    while not stop.is_set():
        began = time.monotonic()
        try:
            status, text = await client.ask(keep=keep)
        except (OSError, EOFError, TimeoutError) as error:
            after = time.monotonic() - began
            seen.failures.append(f"{seen.host}: {error!r} after {after:.0f} s")
        else:
            if status == 200:
                seen.took(text)
            else:
                seen.failures.append(f"{seen.host}: {status} {text}")
        await asyncio.sleep(max(0, _PAUSE_SECONDS - (time.monotonic() - began)))
    client.close()
