"""uvicorn's server as a part of this process, which wakes the event loop no more than it must."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import override

import uvicorn

from upwell.machine.clock import until_tick

_TICK_SECONDS = 1.0
"""Between two looks at the clock, for the date in answers."""
_OF_A_SECOND = 0
"""uvicorn counts tenths of seconds, and makes the date at the first of each ten."""


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
