"""Connections that are read for clients who may take little of it, or nothing."""

import asyncio

from upwell.machine.sockets.event_loop import let_stream_wait

PIECE = 16 * 1024
"""Bytes of one read; the kernel's buffers come before."""


def read_little(transport: asyncio.BaseTransport | None, size: int = PIECE) -> None:
    """Read a piece at a time from now on: asyncio reads 256 KiB ahead, for each connection.

    Whatever comes on it waits for all others.
    """
    if transport is not None and hasattr(transport, "max_size"):  # of a socket
        transport.max_size = size
        let_stream_wait(transport)
