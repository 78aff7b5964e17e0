"""Work on large objects: in a thread, one request at a time, so that many take no more memory."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

from starlette.requests import Request

from upwell.server.auth.caller import caller_of
from upwell.server.auth.request_seats import RequestSeats

_SMALL = 64 * 1024
"""Bytes of all that is worked on that take a step of the event loop."""


class LargeWork:
    """The large work of one request."""

    def __init__(self, seats: RequestSeats | None = None, client: str = "") -> None:
        self._seats = seats
        self._client = client
        self._held = AsyncExitStack()
        self._has_turn = False

    async def computed[T](self, compute: Callable[[], T], size: int) -> T:
        """Return what `compute` makes of `size` bytes; raises SeatError where too many wait.

        A change of a large object takes a tenth of a second or more, which is no step of the event
        loop; a thread for each small one would cost more than the change.
        """
        if size <= _SMALL:
            return compute()
        await self._take_turn()
        working = asyncio.ensure_future(asyncio.to_thread(compute))
        try:
            return await asyncio.shield(working)
        finally:
            await asyncio.wait({working})  # a thread works on when nobody waits, and has the turn
            del working  # its error's traceback has this frame: it would wait for gc

    async def end(self) -> None:
        """Give the turn back."""
        await self._held.aclose()

    async def _take_turn(self) -> None:
        if self._seats is not None and not self._has_turn:
            await self._held.enter_async_context(self._seats.seat(self._client))
            self._has_turn = True


@asynccontextmanager
async def large_work(request: Request, seats: RequestSeats) -> AsyncIterator[LargeWork]:
    """Give what does the large work of a request; its turn, once taken, is held to the end."""
    source = str((request.scope.get("client") or ("",))[0])
    work = LargeWork(seats, f"token {caller_of(request)} at {source}")
    try:
        yield work
    finally:
        await work.end()
