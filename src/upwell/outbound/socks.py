"""SOCKS 5 for child processes (RFC 1928; RFC 1929 for the secret): CONNECT, by the policy."""

import asyncio
import hmac
import struct
from collections.abc import Callable
from contextlib import suppress
from ipaddress import ip_address

from upwell.outbound.dialing import Dialer
from upwell.outbound.policy import ForbiddenAddressError

_VERSION, _SECRET_VERSION = 5, 1
_NO_SECRET, _BY_SECRET, _NO_METHOD = 0, 2, 255
_CONNECT = 1
_IPV4, _NAME, _IPV6 = 1, 3, 4
_DONE, _FAILED, _FORBIDDEN, _UNREACHABLE, _NO_COMMAND = 0, 1, 2, 4, 7
_SIZES = {_IPV4: 4, _IPV6: 16}
_GREETING_SECONDS = 10.0
_CONNECT_SECONDS = 30.0
_BUFFER = 256 * 1024
_MAX_CONNECTIONS = 64
_MAX_REFUSALS = 8


type Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class SocksServer:
    """Connects for those who can reach it; `secret` is the password that they need, if any."""

    def __init__(self, dialer: Dialer, secret: str = "") -> None:
        self.refusals: list[str] = []
        """Refused destinations, in words, the first ones."""
        self._dialer = dialer
        self._secret = secret.encode()
        self._slots = asyncio.Semaphore(_MAX_CONNECTIONS)
        self.connections = 0
        """Number of connections that are passed on."""
        self.received_bytes = 0
        """Bytes that have come."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection until one of its ends is gone."""
        async with self._slots:
            try:
                async with asyncio.timeout(_GREETING_SECONDS):
                    host, port = await self._asked(reader, writer)
                await self._connect(host, port, reader, writer)
            except (OSError, EOFError, ValueError, TimeoutError):
                pass  # whoever asks in a wrong way, or is gone, gets no more
            finally:
                writer.close()

    async def forward(
        self, host: str, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Connect one connection to a place that was fixed before."""
        async with self._slots:
            try:
                async with asyncio.timeout(_CONNECT_SECONDS):
                    far = await self._dialer.open_connection(host, port, limit=_BUFFER)
                await self._relay((reader, writer), far)
            except ForbiddenAddressError as error:
                self._note(error)
            except (OSError, UnicodeError):
                pass  # the child sees its connection end
            finally:
                writer.close()

    async def _asked(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> tuple[str, int]:
        """Return the host and port that are asked for; raises ValueError for another protocol."""
        version, count = await reader.readexactly(2)
        methods = await reader.readexactly(count)
        wanted = _BY_SECRET if self._secret else _NO_SECRET
        if version != _VERSION or wanted not in methods:
            writer.write(bytes((_VERSION, _NO_METHOD)))
            raise ValueError("no method in common")
        writer.write(bytes((_VERSION, wanted)))
        if self._secret:
            await self._check_secret(reader, writer)
        _, command, _, kind = await reader.readexactly(4)
        if kind == _NAME:
            (size,) = await reader.readexactly(1)
            host = (await reader.readexactly(size)).decode("ascii")
        elif kind in _SIZES:
            host = str(ip_address(await reader.readexactly(_SIZES[kind])))
        else:
            raise ValueError("an unknown kind of address")
        (port,) = struct.unpack("!H", await reader.readexactly(2))
        if command != _CONNECT:
            writer.write(_reply(_NO_COMMAND))
            raise ValueError("not CONNECT")
        return host, port

    async def _check_secret(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        _, size = await reader.readexactly(2)
        await reader.readexactly(size)
        (size,) = await reader.readexactly(1)
        right = hmac.compare_digest(await reader.readexactly(size), self._secret)
        writer.write(bytes((_SECRET_VERSION, 0 if right else 1)))
        if not right:
            raise ValueError("a wrong secret")

    async def _connect(
        self, host: str, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                far = await self._dialer.open_connection(host, port, limit=_BUFFER)
        except ForbiddenAddressError as error:
            self._note(error)
            writer.write(_reply(_FORBIDDEN))
        except (OSError, UnicodeError):
            writer.write(_reply(_UNREACHABLE))
        else:
            writer.write(_reply(_DONE))
            await self._relay((reader, writer), far)
        with suppress(OSError):
            await writer.drain()

    async def _relay(self, near: Ends, far: Ends) -> None:
        self.connections += 1
        try:
            await relay(near, far, self._count)
        finally:
            self.connections -= 1

    def _count(self, number: int) -> None:
        self.received_bytes += number

    def _note(self, error: ForbiddenAddressError) -> None:
        if len(self.refusals) < _MAX_REFUSALS:
            self.refusals.append(str(error))


def _reply(code: int) -> bytes:
    return bytes((_VERSION, code, 0, _IPV4, 0, 0, 0, 0, 0, 0))


def _nobody(_: int) -> None:
    """Tell nobody that something came."""


async def relay(near: Ends, far: Ends, received: Callable[[int], None] = _nobody) -> None:
    """Pass on what each side sends until both have ended, or one of them breaks.

    `received` hears of the bytes of each piece that comes from afar.
    """
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(_copy(near[0], far[1], _nobody))
            group.create_task(_copy(far[0], near[1], received))
    except* OSError:
        pass
    finally:
        far[1].close()


async def _copy(
    source: asyncio.StreamReader, target: asyncio.StreamWriter, passed: Callable[[int], None]
) -> None:
    while chunk := await source.read(_BUFFER):
        passed(len(chunk))
        target.write(chunk)
        await target.drain()
    if target.can_write_eof():
        target.write_eof()
