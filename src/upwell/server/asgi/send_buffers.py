"""Bounds of what the kernel keeps of a stream that its client does not read."""

import asyncio
import socket
from contextlib import suppress

STREAM_BYTES = 256 * 1024
"""Twice as much is allotted (socket(7)): 10 MB/s reach a client 50 ms away."""


def keep_little_unsent(transport: asyncio.BaseTransport) -> None:
    """Keep little of what a client has not taken yet, from now on.

    The kernel would keep 4 MiB for each (tcp(7), tcp_wmem), and as much of every log and of every
    command's output is read, unpacked and sent, although nobody reads it.
    """
    connection = transport.get_extra_info("socket")
    if connection is not None:
        with suppress(OSError):  # it has gone
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, STREAM_BYTES)
