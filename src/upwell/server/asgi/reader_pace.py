"""Time that the reader of an answer has left, by what its kernel has acknowledged.

The event loop sees nothing of a slow reader until a third of the kernel's send buffer is free, and
that may be 4 MiB (tcp(7), tcp_wmem): more than a bad line takes in a minute.
"""

import asyncio
import socket
import struct

_ACKED = struct.Struct("=Q")
_ACKED_AT = 120
"""Of `tcpi_bytes_acked` in the kernel's `struct tcp_info` (linux/tcp.h)."""


class ReaderPace:
    """Time left to a client that takes less than is sent, `seconds` at the most.

    It passes while there is something to send, and each `floor` bytes that the client's kernel
    acknowledges give a second of it back. Where the socket tells nothing of that (one in the file
    system, whose buffer is small), all of it comes back when the client has taken what was sent.
    """

    def __init__(self, seconds: float, floor: int) -> None:
        self._seconds = seconds
        self._floor = floor
        self._left = seconds
        self._since: float | None = None
        """Until when the time that has passed is taken from what is left; None: none passes."""
        self._acked: int | None = None

    def begin(self, transport: asyncio.BaseTransport, now: float) -> None:
        """Note that there is something to send that the client does not take; idempotent."""
        if self._since is None:
            self._since = now
            if self._acked is None:
                self._acked = _acked_bytes(transport)

    def end(self) -> None:
        """Note that the client has taken what was sent."""
        self._since = None
        if self._acked is None:
            self._left = self._seconds

    def is_over(self, transport: asyncio.BaseTransport, now: float) -> bool:
        """Return True once no time is left by `now`."""
        if self._since is None:
            return False
        self._left -= now - self._since
        self._since = now
        acked = _acked_bytes(transport)
        if acked is not None and self._acked is not None:
            self._left = min(self._seconds, self._left + (acked - self._acked) / self._floor)
            self._acked = acked
        return self._left < 0


def _acked_bytes(transport: asyncio.BaseTransport) -> int | None:
    """Return how much the peer's kernel has ever taken of the connection; None: not known."""
    connection = transport.get_extra_info("socket")
    if connection is None or connection.family == socket.AF_UNIX:
        return None
    try:
        told = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _ACKED_AT + _ACKED.size)
    except OSError:  # it has gone
        return None
    if len(told) < _ACKED_AT + _ACKED.size:
        return None
    acked: int = _ACKED.unpack_from(told, _ACKED_AT)[0]
    return acked
