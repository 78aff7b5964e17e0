"""uvicorn's server as a part of this process, which wakes the event loop no more than it must."""

import asyncio
import math
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import override

import uvicorn
from starlette.types import ASGIApp

from upwell.machine.clock import until_tick

_TICK_SECONDS = 1.0
"""Between two looks at the clock, for the date in answers."""
_OF_A_SECOND = 0
"""uvicorn counts tenths of seconds, and makes the date at the first of each ten."""

_MAX_MESSAGE_BYTES = 4 * 1024 * 1024
"""Of a WebSocket: clients may send a whole file to a command as one."""


def server_config(
    app: ASGIApp, *, idle_seconds: int, grace_seconds: float, runs_lifespan: bool
) -> uvicorn.Config:
    """Return how an application is served, on the network as on this machine's socket.

    A connection without an answer under way is kept for `idle_seconds`; at the end, answers get
    `grace_seconds`.
    """
    return uvicorn.Config(
        app,
        http="httptools",
        ws="wsproto",  # takes any name of a protocol: that of kubectl's port-forward is no token
        ws_max_size=_MAX_MESSAGE_BYTES,
        ws_per_message_deflate=False,  # what is sent is sent as it is: nothing unpacks to more
        ws_ping_timeout=None,  # an answer may wait behind input that a command does not read
        lifespan="on" if runs_lifespan else "off",
        access_log=False,
        log_config=None,
        server_header=False,
        # A header must not say where a request comes from: limits and the audit log need the truth.
        proxy_headers=False,
        timeout_keep_alive=idle_seconds,
        timeout_graceful_shutdown=math.ceil(grace_seconds),
    )


class QuietServer(uvicorn.Server):
    """A server that leaves signals to the process that runs it, and is told when it is to end."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._told = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        """Tasks that take connections, begun by `startup`, and what goes on beside them."""

    def stop(self) -> None:
        """End: take no more, and finish what is under way."""
        self.should_exit = True
        self._told.set()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture nothing: signals are the process's own."""
        yield

    @override
    async def main_loop(self) -> None:
        """Keep the date of answers until it is told to end."""
        while not await self.on_tick(_OF_A_SECOND):
            with suppress(TimeoutError):
                async with asyncio.timeout(until_tick(_TICK_SECONDS)):
                    await self._told.wait()

    @override
    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take no more, and finish what is under way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await super().shutdown(sockets)
