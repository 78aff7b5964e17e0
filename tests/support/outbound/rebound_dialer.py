"""A dialer for names whose addresses change between two look-ups (DNS rebinding)."""

import socket
from collections.abc import Sequence
from typing import override

from upwell.outbound.dialing import Dialer


class ReboundDialer(Dialer):
    """A dialer that finds a name at a public address once, and at loopback from then on."""

    @override
    async def look_up(self, host: str, port: int) -> Sequence[tuple[socket.AddressFamily, str]]:
        address, self._address = getattr(self, "_address", "198.51.100.7"), "127.0.0.1"
        return self._judged(host, port, [(socket.AF_INET, address)])
