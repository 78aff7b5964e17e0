"""Takes connections that begin with TLS, and those that do not, on one port.

On loopback the API is plain HTTP, but kubectl sends no token without TLS. Registry clients try TLS
first even where they may do without, and it would only slow them down; so TLS is spoken to those
alone who ask for the server by `TLS_NAME`, as a kubeconfig can tell them to.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable

TLS_NAME = "upwell"
"""Server name (SNI) that clients must send to be answered in TLS."""

_HANDSHAKE = b"\x16"
"""The type of the first record of TLS (RFC 8446, 5.1); no method of HTTP begins with it."""
_BACKLOG = 2048
_SECONDS = 10.0
"""For the first byte and the handshake."""
_PAUSE = 1.0
"""Before connections are taken again when there are too many open files."""

type Protocols = Callable[[], asyncio.Protocol]


def answer_to_name(context: ssl.SSLContext) -> ssl.SSLContext:
    """Let `context` refuse whoever does not ask for `TLS_NAME`; returns it."""

    def judge(_connection: ssl.SSLObject, name: str | None, _context: ssl.SSLContext) -> int | None:
        return None if name == TLS_NAME else ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME

    context.sni_callback = judge
    return context


async def take_connections(
    listener: socket.socket, protocols: Protocols, tls: ssl.SSLContext
) -> None:
    """Hand each connection to a protocol of its own, until cancelled."""
    loop = asyncio.get_running_loop()
    listener.settimeout(0)
    listener.listen(_BACKLOG)
    async with asyncio.TaskGroup() as opening:
        while True:
            try:
                connection, _ = await loop.sock_accept(listener)
            except OSError:
                await asyncio.sleep(_PAUSE)
            else:
                opening.create_task(_open(connection, protocols, tls))


async def _open(connection: socket.socket, protocols: Protocols, tls: ssl.SSLContext) -> None:
    loop = asyncio.get_running_loop()
    connection.settimeout(0)
    try:
        async with asyncio.timeout(_SECONDS):
            context = tls if await _begins_tls(connection) else None
            await loop.connect_accepted_socket(protocols, connection, ssl=context)
    except OSError:  # among them ssl.SSLError and TimeoutError
        connection.close()
    except asyncio.CancelledError:
        connection.close()
        raise


async def _begins_tls(connection: socket.socket) -> bool:
    """Look at the first byte, and leave it to be read."""
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(connection, readable.set)
    try:
        await readable.wait()
    finally:
        loop.remove_reader(connection)
    return connection.recv(1, socket.MSG_PEEK) == _HANDSHAKE
