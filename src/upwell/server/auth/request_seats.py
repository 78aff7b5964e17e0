"""Seats for requests: each client has its turn, however many requests another one sends.

As Kubernetes' API Priority and Fairness: a request takes a seat while it is served; where none is
free it waits in the queue of its client, and the queues are served in turn.
"""

import asyncio
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from upwell.server.http.errors import ApiError
from upwell.server.http.limits import SeatLimits


class SeatError(ApiError):
    """A client has too many requests open."""

    def __init__(self, client: str) -> None:
        super().__init__(
            429, f"{client} has as many requests open as may be: wait for some of them first"
        )


class RequestSeats:
    """Seats, and a queue for each client that waits for one."""

    def __init__(self, limits: SeatLimits) -> None:
        self._limits = limits
        self._taken: Counter[str] = Counter()
        self._queues: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()
        """In the order of their next turns."""

    @property
    def waiting(self) -> int:
        """Number of requests that wait."""
        return sum(map(len, self._queues.values()))

    @asynccontextmanager
    async def seat(self, client: str) -> AsyncIterator[None]:
        """Hold a seat while the block lasts; raises SeatError when none gets free in time."""
        if self._queues.get(client) or not self._is_free(client):
            await self._wait(client)
        else:
            self._taken[client] += 1
        try:
            yield
        finally:
            self._leave(client)

    def _is_free(self, client: str) -> bool:
        limits = self._limits
        return self._taken.total() < limits.total and self._taken[client] < limits.per_client

    async def _wait(self, client: str) -> None:
        queue = self._queues.setdefault(client, deque())
        if len(queue) >= self._limits.waiting_per_client:
            raise SeatError(client)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        queue.append(turn)
        try:
            async with asyncio.timeout(self._limits.seconds):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():
                self._leave(client)  # the seat came together with the end of the wait
            elif turn in queue:
                queue.remove(turn)
                self._forget(client)
            if isinstance(error, TimeoutError):
                raise SeatError(client) from None
            raise

    def _leave(self, client: str) -> None:
        self._taken[client] -= 1
        if not self._taken[client]:
            del self._taken[client]
        self._give()

    def _give(self) -> None:
        """Give free seats to those who wait, one client after the other."""
        for client in list(self._queues):
            queue = self._queues[client]
            while queue and queue[0].done():  # whose wait has ended
                queue.popleft()
            if queue and self._is_free(client):
                self._taken[client] += 1
                queue.popleft().set_result(None)
                self._queues.move_to_end(client)
            self._forget(client)

    def _forget(self, client: str) -> None:
        if client in self._queues and not self._queues[client]:
            del self._queues[client]
