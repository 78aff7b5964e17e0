"""Takes connections: with TLS alone, or those that begin with it and those that do not on one port.

On loopback the API is plain HTTP, but kubectl sends no token without TLS. Registry clients try TLS
first even where they may do without, and it would only slow them down; so TLS is spoken to those
alone who ask for the server by `TLS_NAME`, as a kubeconfig can tell them to.
"""

import asyncio
import asyncio.sslproto
import logging
import socket
import ssl
from collections.abc import Callable

from upwell.server.asgi.connections import (
    ConnectionTable,
    RefusedConnectionError,
    TrackedConnection,
)

log = logging.getLogger(__name__)

TLS_NAME = "upwell"
"""Server name (SNI) that clients must send to be answered in TLS."""

_HANDSHAKE = b"\x16"
"""The type of the first record of TLS (RFC 8446, 5.1); no method of HTTP begins with it."""
_BACKLOG = 2048
_SECONDS = 10.0
"""For the first byte and the handshake."""
_PAUSE = 0.1
"""Before connections are taken again when there are too many open files."""
_TLS_BUFFER = 32 * 1024
"""Of one connection: room for two records (RFC 8446, 5.1)."""

type Protocols = Callable[[TrackedConnection], asyncio.Protocol]


def answer_to_name(context: ssl.SSLContext) -> ssl.SSLContext:
    """Let `context` refuse whoever does not ask for `TLS_NAME`; returns it."""

    def judge(_connection: ssl.SSLObject, name: str | None, _context: ssl.SSLContext) -> int | None:
        return None if name == TLS_NAME else ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME

    context.sni_callback = judge
    return context


async def take_connections(
    listener: socket.socket,
    protocols: Protocols,
    tls: ssl.SSLContext,
    table: ConnectionTable,
    *,
    plain: bool,
) -> None:
    """Hand each connection to a protocol of its own, until cancelled.

    With `plain`, those that do not begin with TLS are answered without.
    """
    # asyncio allots 256 KiB to each connection with TLS, which its peer need not ever use.
    asyncio.sslproto.SSLProtocol.max_size = _TLS_BUFFER
    loop = asyncio.get_running_loop()
    listener.settimeout(0)
    listener.listen(_BACKLOG)
    async with asyncio.TaskGroup() as opening:
        while True:
            try:
                connection, peer = await loop.sock_accept(listener)
            except OSError:
                table.give_way()
                await asyncio.sleep(_PAUSE)
                continue
            try:
                tracked = table.open(peer[0] if isinstance(peer, tuple) else "")
            except RefusedConnectionError:
                connection.close()
            else:
                opener = _Opener(connection, protocols, tls, table, tracked)
                task = opening.create_task(opener.run(plain=plain))
                tracked.abort = task.cancel
            # One that waits already is taken at once: without this, a flood has no gaps.
            await asyncio.sleep(0)


class _Opener:
    """Finds out how one connection begins, and gives it to its protocol."""

    def __init__(
        self,
        connection: socket.socket,
        protocols: Protocols,
        tls: ssl.SSLContext,
        table: ConnectionTable,
        tracked: TrackedConnection,
    ) -> None:
        self._connection = connection
        self._protocols = protocols
        self._tls = tls
        self._table = table
        self._tracked = tracked

    async def run(self, *, plain: bool) -> None:
        """Open it, or close it; raises nothing but CancelledError."""
        connection = self._connection
        connection.settimeout(0)
        is_open = False
        try:
            async with asyncio.timeout(_SECONDS):
                is_tls = not plain or await _begins_tls(connection)
                await asyncio.get_running_loop().connect_accepted_socket(
                    lambda: self._protocols(self._tracked),
                    connection,
                    ssl=self._tls if is_tls else None,
                )
            is_open = True
        except OSError:  # among them ssl.SSLError and TimeoutError
            pass
        except Exception:
            log.exception("a connection could not be opened")
        finally:
            if not is_open:
                self._table.close(self._tracked)
                connection.close()


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
