"""Connections by the policy: a name is looked up once, and what was judged is connected to."""

import asyncio
import socket
import ssl
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from aiohappyeyeballs import start_connection

from upwell.outbound.policy import ForbiddenAddressError, OutboundPolicy

_LOOKUPS = 8
"""Names that are looked up at once: whoever names hosts of a DNS server that does not answer
keeps these threads from others of the same dialer, and from nobody else."""

_ATTEMPT_SECONDS = 5.0
"""For an address of a host that has others."""
_NEXT_ATTEMPT_SECONDS = 0.25
"""Until the next address is tried beside one that has not answered (RFC 8305, 5)."""


class Dialer:
    """Connects on behalf of objects, by a policy. One for each use: they share no threads."""

    def __init__(self, policy: OutboundPolicy) -> None:
        self.policy = policy
        self._threads = ThreadPoolExecutor(_LOOKUPS, thread_name_prefix="lookup")

    def close(self) -> None:
        """Begin no further look-up."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def open_connection(
        self, host: str, port: int, *, limit: int = 64 * 1024
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect to the first address of a host that is allowed and accepts.

        Raises ForbiddenAddressError or another OSError; UnicodeError for what is no name.
        """
        *others, last = await self.look_up(host, port)
        for family, address in others:
            with suppress(OSError):  # TimeoutError is one
                async with asyncio.timeout(_ATTEMPT_SECONDS):
                    return await _connect(family, address, port, limit)
        return await _connect(*last, port, limit)

    async def connect[T: asyncio.BaseProtocol](
        self,
        protocol: Callable[[], T],
        host: str,
        port: int,
        tls: ssl.SSLContext | None = None,
        tls_server_name: str | None = None,
    ) -> T:
        """Connect a protocol to an address of a host that is allowed, the one that accepts first.

        The certificate of the other end has `tls_server_name`, or else the host's.
        Raises ForbiddenAddressError or another OSError; UnicodeError for what is no name.
        """
        found = await self.look_up(host, port)
        places = [
            (family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port))
            for family, address in found
        ]
        made = await start_connection(places, happy_eyeballs_delay=_NEXT_ATTEMPT_SECONDS)
        name = (tls_server_name or host.rstrip(".")) if tls else None
        try:
            _, connected = await asyncio.get_running_loop().create_connection(
                protocol, sock=made, ssl=tls, server_hostname=name
            )
        except BaseException:
            made.close()
            raise
        return connected

    async def look_up(self, host: str, port: int) -> Sequence[tuple[socket.AddressFamily, str]]:
        """Return the addresses of a host that may be connected to, in the system's order.

        Raises ForbiddenAddressError when none may be, or socket.gaierror.
        """
        found = _as_address(host) or await asyncio.get_running_loop().run_in_executor(
            self._threads, _addresses, host, port
        )
        return self._judged(host, port, found)

    def _judged(
        self, host: str, port: int, found: Iterable[tuple[socket.AddressFamily, str]]
    ) -> Sequence[tuple[socket.AddressFamily, str]]:
        allowed = []
        refusal: ForbiddenAddressError | None = None
        for family, address in found:
            try:
                self.policy.check(address, port, host)
            except ForbiddenAddressError as error:
                refusal = refusal or error
            else:
                allowed.append((family, address))
        if not allowed:
            raise refusal or ForbiddenAddressError(f"refused: {host} has no address")
        return allowed


async def _connect(
    family: socket.AddressFamily, address: str, port: int, limit: int
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    made = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        await asyncio.get_running_loop().sock_connect(made, (address, port))
        return await asyncio.open_connection(sock=made, limit=limit)
    except BaseException:
        made.close()
        raise


def unrestricted() -> Dialer:
    """Return a dialer for what nobody else has named: a person's own command, found addresses."""
    return Dialer(OutboundPolicy.of(["0.0.0.0/0", "::/0"]))


def _as_address(host: str) -> Sequence[tuple[socket.AddressFamily, str]]:
    """Return the address that `host` spells, which nobody has to be asked for; none for a name."""
    for family in (socket.AF_INET, socket.AF_INET6):
        with suppress(OSError, ValueError):
            socket.inet_pton(family, host)
            return ((family, host),)
    return ()


def _addresses(host: str, port: int) -> Sequence[tuple[socket.AddressFamily, str]]:
    flags = socket.AI_ADDRCONFIG  # without IPv6 in the machine, its addresses are of no use
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)
    return list(dict.fromkeys((family, str(place[0])) for family, _, _, _, place in found))
