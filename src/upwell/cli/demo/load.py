"""Steady load over HTTP, with counts of requests and the reasons of failures.

It writes requests itself: a client library would retry a lost one without notice.
"""

import asyncio
import json
import re
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

_TIMEOUT_SECONDS = 10.0
_MAX_HEAD_BYTES = 16 * 1024
_MAX_BODY_BYTES = 64 * 1024
_STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) ")
_LENGTH = re.compile(rb"(?im)^content-length: *(\d+)\r?$")
_CLOSE = re.compile(rb"(?im)^connection: *close\r?$")
_KEPT_FAILURES = 20


class LoadError(Exception):
    """Request without a correct response; the message is the reason."""


@dataclass(slots=True)
class LoadStats:
    """Counts of the responses of one application."""

    host: str
    requests: int = 0
    failed: int = 0
    failures: deque[tuple[datetime, str]] = field(
        default_factory=lambda: deque(maxlen=_KEPT_FAILURES)
    )
    """Last failures: time and reason."""
    answers: Counter[str] = field(default_factory=Counter)
    """Number of responses by the glibc version in them."""
    version: str = ""
    """Version in the newest response."""
    since: datetime | None = None
    """Time since which all responses have had this version."""

    def answered(self, version: str, at: datetime) -> None:
        """Count a correct response."""
        self.requests += 1
        self.answers[version] += 1
        if version != self.version:
            self.version, self.since = version, at

    def lost(self, why: str, at: datetime) -> None:
        """Count a failed request."""
        self.requests += 1
        self.failed += 1
        self.failures.append((at, why))


@dataclass(frozen=True, slots=True)
class Load:
    """Load on each application; half of the clients keep their connections."""

    port: int
    clients: int = 4
    per_second: float = 40.0
    """Requests per second to one application."""

    @asynccontextmanager
    async def running(self, load_stats: Sequence[LoadStats]) -> AsyncIterator[None]:
        """Send requests during the block; a request in progress is finished."""
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            for stats in load_stats:
                for number in range(self.clients):
                    group.create_task(self._ask(stats, stop, keep=number % 2 == 0))
            try:
                yield
            finally:
                stop.set()

    async def _ask(self, stats: LoadStats, stop: asyncio.Event, *, keep: bool) -> None:
        connection = LoadConnection(self.port, stats.host)
        pause = self.clients / self.per_second
        try:
            while not stop.is_set():
                began = time.monotonic()
                try:
                    stats.answered(await connection.ask(keep=keep), datetime.now(UTC))
                except LoadError as error:
                    stats.lost(str(error), datetime.now(UTC))
                rest = pause - (time.monotonic() - began)
                if rest > 0:
                    await asyncio.sleep(rest)
        finally:
            connection.close()


class LoadConnection:
    """Connection to one application, kept as long as both sides keep it."""

    def __init__(self, port: int, host: str) -> None:
        self._port = port
        self._host = host
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, *, keep: bool) -> str:
        """Return the glibc version that the application answers with; raises LoadError."""
        usable = False
        try:
            async with asyncio.timeout(_TIMEOUT_SECONDS):
                head, body = await self._exchange(keep=keep)
            version = read_answer(head, body)
            usable = keep and not _CLOSE.search(head)
        except TimeoutError as error:
            raise LoadError(f"no answer within {_TIMEOUT_SECONDS:g} s") from error
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
            raise LoadError(f"{type(error).__name__}: {error}") from error
        finally:
            if not usable:
                self.close()
        return version

    def close(self) -> None:
        """End the connection; the next request opens another."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None

    async def _exchange(self, *, keep: bool) -> tuple[bytes, bytes]:
        if self._streams is None:
            self._streams = await asyncio.open_connection(
                "127.0.0.1", self._port, limit=_MAX_HEAD_BYTES
            )
        reader, writer = self._streams
        header = "" if keep else "Connection: close\r\n"
        writer.write(f"GET / HTTP/1.1\r\nHost: {self._host}\r\n{header}\r\n".encode())
        await writer.drain()
        head = await reader.readuntil(b"\r\n\r\n")
        length = _LENGTH.search(head)
        if length is None or int(length[1]) > _MAX_BODY_BYTES:
            raise LoadError(f"{_first_line(head)}: no valid Content-Length")
        return head, await reader.readexactly(int(length[1]))


def read_answer(head: bytes, body: bytes) -> str:
    """Return the version in an answer; raises LoadError for any other answer."""
    status = _STATUS.match(head)
    if status is None or status[1] != b"200":
        raise LoadError(_first_line(head))
    try:
        answer = json.loads(body)
    except ValueError as error:
        raise LoadError("the answer is not JSON") from error
    version = answer.get("glibc") if isinstance(answer, Mapping) else None
    if not isinstance(version, str) or not version:
        raise LoadError("the answer has no glibc version")
    return version


def _first_line(head: bytes) -> str:
    return head.partition(b"\r\n")[0].decode(errors="replace")
