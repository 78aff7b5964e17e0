"""Turns of requests: seats for them and for their bodies, and how many watches are open."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager

from upwell.server.auth.rate_limits import OpenByClient
from upwell.server.auth.request_seats import RequestSeats
from upwell.server.auth.requests.head import RequestHead
from upwell.server.http.limits import ServerLimits

_SMALL_BODY = 64 * 1024
"""Bytes of a body that count for nothing."""


class RequestTurns:
    """Bounds on what is served at once, by client and in all; `shutdown` ends every wait."""

    def __init__(self, limits: ServerLimits, shutdown: asyncio.Event | None = None) -> None:
        self._watches = OpenByClient(limits.watches_per_client)
        self._namespace_watches = OpenByClient(limits.watches_per_namespace)
        self._seats = RequestSeats(limits.seats, shutdown)
        self._transfers = RequestSeats(limits.transfers, shutdown)
        self._bodies = RequestSeats(limits.bodies, shutdown)

    @contextmanager
    def open(self, request: RequestHead) -> Iterator[None]:
        """Count an answer that goes on while the block lasts; raises ApiError 429 beyond limits."""
        with ExitStack() as stack:
            if request.is_long_running:
                stack.enter_context(self._watches.counted(request.client(request.user)))
                if namespace := request.action.namespace:
                    counted = self._namespace_watches.counted(f"namespace {namespace}")
                    stack.enter_context(counted)
            yield

    @asynccontextmanager
    async def turn(self, request: RequestHead) -> AsyncIterator[None]:
        """Hold a seat, which long answers do not take, and room for the body.

        Raises SeatError when they do not get free in time.
        """
        if not request.takes_seat:
            yield
            return
        client, size = request.client(request.user), request.held_bytes
        seats = self._transfers if request.is_transfer else self._seats
        async with seats.seat(client), AsyncExitStack() as stack:
            if size > _SMALL_BODY:
                await stack.enter_async_context(self._bodies.seat(client, size))
            yield
