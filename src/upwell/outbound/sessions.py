"""Connections of aiohttp's sessions by the policy."""

import socket
from typing import Any, override

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.connector import AddrInfoType

from upwell.outbound.dialing import Dialer


def judged_connector(dialer: Dialer, **limits: Any) -> aiohttp.TCPConnector:
    """Return a connector that connects by the dialer's policy, redirects included."""
    resolver = _JudgingResolver(dialer)
    return aiohttp.TCPConnector(resolver=resolver, socket_factory=resolver.judged_socket, **limits)


class _JudgingResolver(AbstractResolver):
    """Looks names up for one connector. It is not asked for addresses: its sockets judge those."""

    def __init__(self, dialer: Dialer) -> None:
        self._dialer = dialer
        self._trusted: dict[tuple[str, int], frozenset[str]] = {}
        """Addresses of names that the administrator allows: few, as they have written them."""

    @override
    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        found = await self._dialer.look_up(host, port)
        if self._dialer.policy.allows_name(host, port):
            self._trusted[host.lower(), port] = frozenset(address for _, address in found)
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=kind,
                proto=0,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for kind, address in found
            if family in {socket.AF_UNSPEC, kind}
        ]

    @override
    async def close(self) -> None:
        self._trusted.clear()

    def judged_socket(self, info: AddrInfoType) -> socket.socket:
        """Return a socket for the address that comes next; raises ForbiddenAddressError."""
        family, kind, protocol, _, place = info
        address, port = str(place[0]), int(place[1])
        if not any(
            address in known for (_, number), known in self._trusted.items() if number == port
        ):
            self._dialer.policy.check(address, port)
        return socket.socket(family, kind, protocol)
