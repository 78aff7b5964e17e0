"""Export of the audit log to another machine: each line at least once, in order.

Lines are read from the files, so that a receiver that was away gets them later. How far each chain
came is in a file beside them.
"""

import asyncio
import json
import logging
import socket
import ssl
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

import aiohttp

from upwell.audit.chain import BrokenChainError, parse
from upwell.audit.numbered import lines_after
from upwell.machine.components import WatchedComponent
from upwell.machine.private_file import write_private

_LOG = logging.getLogger(__name__)
_BATCH_LINES = 500
_BATCH_BYTES = 1024 * 1024
_SECONDS = 15.0
_PAUSE, _MAX_PAUSE = 2.0, 60.0
_LAST_SECONDS = 5.0
"""For what is left when the server ends."""
_POSITIONS = "audit-exported.json"
_PRIORITY = 13 * 8 + 5
"""Facility 13 (log audit), severity 5 (notice): RFC 5424, 6.2.1."""
_PORTS = {"syslog": 514, "syslog+udp": 514, "syslog+tls": 6514}
SCHEMES = ("http", "https", "unix", *_PORTS)


class AuditExportError(Exception):
    """Lines were not taken; the message says why."""


class InvalidReceiverError(ValueError):
    """A URL is that of no receiver."""


class Receiver(Protocol):
    """Takes lines. What it has taken is not sent again, what it raised for is."""

    async def send(self, lines: Sequence[bytes]) -> None:
        """Send lines in their order; raises AuditExportError."""
        ...


@dataclass(frozen=True, slots=True)
class JsonReceiver:
    """Takes lines as newline-delimited JSON by POST."""

    url: str
    token: str = ""

    async def send(self, lines: Sequence[bytes]) -> None:
        """Send one request; any answer of the class 2xx means that it has the lines."""
        headers = {"Content-Type": "application/x-ndjson"}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        timeout = aiohttp.ClientTimeout(total=_SECONDS)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.post(
                    self.url,
                    data=b"".join(line + b"\n" for line in lines),
                    headers=headers,
                    allow_redirects=False,
                ) as answer,
            ):
                if answer.status // 100 != 2:  # noqa: PLR2004 - the class of success
                    raise AuditExportError(f"it answered {answer.status}")
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise AuditExportError(f"no answer: {type(error).__name__}") from error


@dataclass(frozen=True, slots=True)
class SyslogReceiver:
    """Takes each line as a syslog message (RFC 5424): TCP or TLS (RFC 6587, 5425), or datagrams."""

    address: str
    port: int
    """0: `address` is the path of a socket, such as /dev/log."""
    datagrams: bool = False
    tls: ssl.SSLContext | None = None

    async def send(self, lines: Sequence[bytes]) -> None:
        """Send every line; over TCP, those that the kernel has not passed on may be lost."""
        messages = [_message(line) for line in lines]
        try:
            async with asyncio.timeout(_SECONDS):
                if self.datagrams or not self.port:
                    await asyncio.to_thread(self._send_datagrams, messages)
                else:
                    await self._stream(messages)
        except (OSError, TimeoutError, ssl.SSLError) as error:
            raise AuditExportError(str(error) or type(error).__name__) from error

    def _send_datagrams(self, messages: Sequence[bytes]) -> None:
        if not self.port:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as local:
                local.settimeout(_SECONDS)
                local.connect(self.address)
                for message in messages:
                    local.send(message)
            return
        family, _, _, _, place = socket.getaddrinfo(
            self.address, self.port, type=socket.SOCK_DGRAM
        )[0]
        with socket.socket(family, socket.SOCK_DGRAM) as remote:
            remote.settimeout(_SECONDS)
            remote.connect(place)
            for message in messages:
                remote.send(message)

    async def _stream(self, messages: Sequence[bytes]) -> None:
        _, writer = await asyncio.open_connection(self.address, self.port, ssl=self.tls)
        try:
            for message in messages:  # octet counting: RFC 6587, 3.4.1
                writer.write(b"%d %b" % (len(message), message))
            await writer.drain()
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()


def receiver_of(url: str, token: str = "") -> Receiver:
    """Return the receiver of a URL: http, https, syslog, syslog+udp, syslog+tls, or unix.

    Raises InvalidReceiverError.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise InvalidReceiverError(f"{url!r} is no URL") from error
    if parts.scheme in {"http", "https"} and parts.hostname:
        return JsonReceiver(url, token)
    if parts.scheme == "unix" and parts.path.startswith("/"):
        return SyslogReceiver(parts.path, 0)
    if parts.scheme in _PORTS and parts.hostname:
        tls = ssl.create_default_context() if parts.scheme == "syslog+tls" else None
        datagrams = parts.scheme == "syslog+udp"
        return SyslogReceiver(parts.hostname, port or _PORTS[parts.scheme], datagrams, tls)
    raise InvalidReceiverError(f"{url!r} is none of {', '.join(f'{one}://' for one in SCHEMES)}")


class AuditExport:
    """Sends what the chains at `paths` hold, and goes on where it was."""

    def __init__(
        self, paths: Sequence[Path], receiver: Receiver, component: WatchedComponent
    ) -> None:
        self._paths = paths
        self._receiver = receiver
        self._component = component
        self._positions: dict[str, int] | None = None

    async def run(self) -> None:
        """Send what comes, until cancelled; a fault is reported, and tried again ever later."""
        pause = _PAUSE
        while True:
            try:
                await self.send_new()
            except (AuditExportError, OSError, BrokenChainError) as error:
                self._component.fail(
                    "AuditLogNotExported",
                    f"the audit log's receiver did not take its lines ({error}); they are kept,"
                    " and sent when it does",
                )
                pause = min(pause * 2, _MAX_PAUSE)
            else:
                self._component.recover()
                pause = _PAUSE
            await asyncio.sleep(pause)

    async def send_new(self) -> int:
        """Send all lines that were not sent, and return their number.

        Raises AuditExportError, OSError, BrokenChainError.
        """
        if self._positions is None:
            self._positions = await asyncio.to_thread(self._stored)
        positions, sent = self._positions, 0
        for path in self._paths:
            while batch := await asyncio.to_thread(_next, path, positions.get(path.name, 0)):
                await self._receiver.send(batch.lines)
                sent += len(batch.lines)
                positions[path.name] = batch.last
                await asyncio.to_thread(self._store)
        return sent

    async def send_last(self) -> None:
        """Send what is left when the server ends: the folder may end with it."""
        try:
            async with asyncio.timeout(_LAST_SECONDS):
                await self.send_new()
        except (AuditExportError, OSError, BrokenChainError, TimeoutError) as error:
            _LOG.warning("last audit lines not exported", extra={"error": str(error)})

    def _stored(self) -> dict[str, int]:
        try:
            found = json.loads(self._file.read_bytes())
        except (OSError, ValueError):
            return {}  # everything is sent once more
        if not isinstance(found, Mapping):
            return {}
        return {str(name): at for name, at in found.items() if isinstance(at, int)}

    def _store(self) -> None:
        write_private(self._file, json.dumps(self._positions), synced=False)

    @property
    def _file(self) -> Path:
        return self._paths[0].with_name(_POSITIONS)


@dataclass(frozen=True, slots=True)
class _Batch:
    lines: Sequence[bytes]
    last: int


def _next(path: Path, after: int) -> _Batch | None:
    lines: list[bytes] = []
    size, last = 0, after
    for seq, line in lines_after(path, after):
        if not seq:
            continue  # half a line of a power cut
        lines.append(line)
        size += len(line)
        last = seq
        if len(lines) == _BATCH_LINES or size >= _BATCH_BYTES:
            break
    return _Batch(lines, last) if lines else None


def _message(line: bytes) -> bytes:
    """Return a syslog message (RFC 5424, 6): structured data none, the line as its text."""
    time = "-"
    with suppress(BrokenChainError):
        time = str(parse(line).get("time") or "-")
    head = f"<{_PRIORITY}>1 {time} {socket.gethostname() or '-'} upwell - audit - "
    return head.encode() + line
