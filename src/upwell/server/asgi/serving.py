"""Runs the application under uvicorn inside somebody else's event loop and signal handling."""

import asyncio
import socket
import ssl

import uvicorn
from starlette.types import ASGIApp

from upwell.server.asgi.connections import ConnectionTable, TrackedConnection, keep_expiring
from upwell.server.asgi.guarded_http import GuardedHttpProtocol
from upwell.server.asgi.mixed_tls import answer_to_name, take_connections
from upwell.server.asgi.quiet_server import QuietServer, server_config


class _GuardedServer(QuietServer):
    """Takes connections as the table of them allows, and closes those that are too slow."""

    def __init__(
        self, config: uvicorn.Config, tls: ssl.SSLContext, table: ConnectionTable, *, plain: bool
    ) -> None:
        super().__init__(config)
        self._tls = answer_to_name(tls) if plain else tls
        self._plain = plain
        self._table = table

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the application, and then take connections."""
        await super().startup([])
        for listener in sockets or ():
            taking = take_connections(
                listener, self._protocol, self._tls, self._table, plain=self._plain
            )
            self._tasks.append(asyncio.create_task(taking))
        self._tasks.append(asyncio.create_task(keep_expiring(self._table)))

    def _protocol(self, tracked: TrackedConnection) -> asyncio.Protocol:
        return GuardedHttpProtocol(
            self.config, self.server_state, self.lifespan.state, self._table, tracked
        )


async def serve(
    app: ASGIApp,
    listener: socket.socket,
    shutdown: asyncio.Event,
    *,
    tls: ssl.SSLContext,
    plain: bool,
    grace_seconds: float = 10,
    table: ConnectionTable | None = None,
) -> None:
    """Serve on a bound socket until `shutdown` is set, then finish the answers under way.

    `tls` is how connections are encrypted: all, or with `plain` those that ask for it. Answers get
    `grace_seconds`; cancelling ends the same way. `table` bounds the connections. Raises OSError if
    the application does not start.
    """
    table = table or ConnectionTable()
    config = server_config(
        app,
        idle_seconds=table.limits.idle_seconds,
        grace_seconds=grace_seconds,
        runs_lifespan=True,
    )
    server = _GuardedServer(config, tls, table, plain=plain)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    stopping = asyncio.create_task(shutdown.wait())
    try:
        await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        shutdown.set()
        server.stop()
        stopping.cancel()
        await asyncio.shield(serving)
    if not server.started:
        raise OSError("the HTTP server did not start: its log says why")
