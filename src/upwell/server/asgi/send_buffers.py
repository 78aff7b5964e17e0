"""Bounds of what the kernel keeps of answers that their clients do not read."""

import asyncio
import socket
import struct
from contextlib import suppress

STREAM_BYTES = 256 * 1024
"""Twice as much is allotted (socket(7)): 10 MB/s reach a client 50 ms away."""

_AT_ONCE = struct.pack("ii", 1, 0)
"""As `struct linger` (socket(7)): what is unsent goes with the connection, which is reset."""


def reset(transport: asyncio.WriteTransport) -> None:
    """Cut a connection off, and let the kernel keep nothing of what its client has not taken.

    After a mere `abort` it would go on sending megabytes, for as long as the client takes a little.
    """
    _set(transport, socket.SO_LINGER, _AT_ONCE)
    transport.abort()


def keep_little_unsent(transport: asyncio.BaseTransport) -> None:
    """Keep little of what a client has not taken yet, from now on.

    The kernel would keep 4 MiB for each (tcp(7), tcp_wmem), and as much of every log and of every
    command's output is read, unpacked and sent, although nobody reads it.
    """
    _set(transport, socket.SO_SNDBUF, STREAM_BYTES)


def _set(transport: asyncio.BaseTransport, option: int, value: int | bytes) -> None:
    connection = transport.get_extra_info("socket")
    if connection is not None:
        with suppress(OSError):  # it has gone
            connection.setsockopt(socket.SOL_SOCKET, option, value)
