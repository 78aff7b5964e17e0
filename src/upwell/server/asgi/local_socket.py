"""Serves the API on a Unix socket too, to users of this machine whom the kernel names.

Nothing that is secret crosses it: the peer's uid (SO_PEERCRED, unix(7)) stands in for a token.
"""

import asyncio
import socket
import struct
from pathlib import Path
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from upwell.server.asgi.connections import (
    UNIX,
    ConnectionTable,
    RefusedConnectionError,
    TrackedConnection,
)
from upwell.server.asgi.guarded_http import GuardedHttpProtocol
from upwell.server.asgi.quiet_server import QuietServer, server_config
from upwell.server.auth.request_info import PEER

_BACKLOG = 128
_PAUSE = 1.0
"""Before connections are taken again when there are too many open files."""
_CREDENTIALS = struct.Struct("3i")
"""pid, uid and gid (unix(7), ucred)."""


def bind_local(path: Path) -> socket.socket:
    """Return a socket that listens at `path`, for its owner alone; raises OSError.

    What a killed server left there is replaced: the folder has one server at a time.
    """
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(str(path))
        path.chmod(0o600)
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


async def serve_local(
    app: ASGIApp,
    listener: socket.socket,
    shutdown: asyncio.Event,
    table: ConnectionTable,
    *,
    grace_seconds: float = 10,
) -> None:
    """Serve until `shutdown` is set, then finish the answers under way.

    The application's lifespan is that of the server on the network, with which it shares `table`:
    that one closes what is too slow.
    """
    config = server_config(
        app,
        idle_seconds=table.limits.idle_seconds,
        grace_seconds=grace_seconds,
        runs_lifespan=False,
    )
    server = _LocalServer(config, table)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    stopping = asyncio.create_task(shutdown.wait())
    try:
        await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        server.stop()
        stopping.cancel()
        await asyncio.shield(serving)


class _LocalServer(QuietServer):
    """Takes connections and tells the application whose each is."""

    def __init__(self, config: uvicorn.Config, table: ConnectionTable) -> None:
        super().__init__(config)
        self._table = table

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Take connections."""
        await super().startup([])
        self._tasks = [asyncio.create_task(self._take(one)) for one in sockets or ()]

    async def _take(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        listener.settimeout(0)
        while True:
            try:
                connection, _ = await loop.sock_accept(listener)
            except OSError:
                self._table.give_way()
                await asyncio.sleep(_PAUSE)
            else:
                await self._open(connection)
                # One that waits already is taken at once: without this, a flood has no gaps.
                await asyncio.sleep(0)

    async def _open(self, connection: socket.socket) -> None:
        try:
            tracked = self._table.open(UNIX)
        except RefusedConnectionError:
            connection.close()
            return
        try:
            state = {PEER: _uid_of(connection)}
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: self._protocol(tracked, state), connection
            )
        except OSError:
            self._table.close(tracked)
            connection.close()

    def _protocol(self, tracked: TrackedConnection, state: dict[str, Any]) -> asyncio.Protocol:
        return GuardedHttpProtocol(self.config, self.server_state, state, self._table, tracked)


def _uid_of(connection: socket.socket) -> int:
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _, uid, _ = _CREDENTIALS.unpack(raw)
    return int(uid)
