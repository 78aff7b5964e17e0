"""Runs the application under uvicorn inside somebody else's event loop and signal handling."""

import asyncio
import math
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import cast

import uvicorn
from starlette.types import ASGIApp

from upwell.server.asgi.mixed_tls import answer_to_name, take_connections

_BACKLOG = 2048
_MAX_MESSAGE_BYTES = 4 * 1024 * 1024
"""Of a WebSocket: clients may send a whole file to a command as one."""


class _Server(uvicorn.Server):
    """A server that leaves signals to the process that runs it."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture nothing."""
        yield


class _OpenServer(_Server):
    """Takes connections with TLS and without, on the same sockets."""

    def __init__(self, config: uvicorn.Config, tls: ssl.SSLContext) -> None:
        super().__init__(config)
        self._tls = answer_to_name(tls)
        self._taking: list[asyncio.Task[None]] = []

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the application, and then take connections."""
        await super().startup([])
        for listener in sockets or ():
            taking = take_connections(listener, self._protocol, self._tls)
            self._taking.append(asyncio.create_task(taking))

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take no more, and finish what is under way."""
        for taking in self._taking:
            taking.cancel()
        await asyncio.gather(*self._taking, return_exceptions=True)
        await super().shutdown(sockets)

    def _protocol(self) -> asyncio.Protocol:
        make = cast("Callable[..., asyncio.Protocol]", self.config.http_protocol_class)
        return make(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )


async def serve(
    app: ASGIApp,
    listener: socket.socket,
    shutdown: asyncio.Event,
    *,
    tls: ssl.SSLContext,
    plain: bool,
    grace_seconds: float = 10,
) -> None:
    """Serve on a bound socket until `shutdown` is set, then finish the answers under way.

    `tls` is how connections are encrypted: all, or with `plain` those that ask for it. Answers get
    `grace_seconds`; cancelling ends the same way. Raises OSError if the application does not start.
    """
    config = uvicorn.Config(
        app,
        http="httptools",
        ws="wsproto",  # takes any name of a protocol: that of kubectl's port-forward is no token
        ws_max_size=_MAX_MESSAGE_BYTES,
        ws_per_message_deflate=False,  # what is sent is sent as it is: nothing unpacks to more
        ws_ping_timeout=None,  # an answer may wait behind input that a command does not read
        lifespan="on",
        backlog=_BACKLOG,
        access_log=False,
        log_config=None,
        server_header=False,
        # A header must not say where a request comes from: limits and the audit log need the truth.
        proxy_headers=False,
        ssl_context_factory=None if plain else (lambda _config, _default: tls),
        timeout_graceful_shutdown=math.ceil(grace_seconds),
    )
    server = _OpenServer(config, tls) if plain else _Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    stopping = asyncio.create_task(shutdown.wait())
    try:
        await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        shutdown.set()
        server.should_exit = True
        stopping.cancel()
        await asyncio.shield(serving)
    if not server.started:
        raise OSError("the HTTP server did not start: its log says why")
