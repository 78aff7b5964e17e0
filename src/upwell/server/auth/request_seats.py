"""Seats for requests: each client has its turn, however many requests another one sends.

As Kubernetes' API Priority and Fairness: a request takes a seat while it is served; where none is
free it waits in the queue of its client, and the queues are served in turn. What requests share may
be more than their number: the bytes of their bodies, then a request takes as many seats.
"""

import asyncio
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import chain

from upwell.server.http.errors import ApiError
from upwell.server.http.limits import SeatLimits


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    """A request that waits for seats."""

    turn: asyncio.Future[None]
    count: int


class SeatError(ApiError):
    """There is no seat: a client has too many requests open, or the server stops."""


class RequestSeats:
    """Seats, and a queue for each client that waits for one.

    Once `shutdown` is set nobody is waited for: those who have a seat end the sooner.
    """

    def __init__(self, limits: SeatLimits, shutdown: asyncio.Event | None = None) -> None:
        self._limits = limits
        self._shutdown = shutdown
        self._stopping: asyncio.Task[bool] | None = None
        self._taken: Counter[str] = Counter()
        self._queues: OrderedDict[str, deque[_Waiting]] = OrderedDict()
        """In the order of their next turns."""

    @property
    def waiting(self) -> int:
        """Number of requests that wait."""
        return sum(map(len, self._queues.values()))

    @asynccontextmanager
    async def seat(self, client: str, count: int = 1) -> AsyncIterator[None]:
        """Hold seats while the block lasts; raises SeatError when they do not get free in time.

        A request that takes more than a client may have takes all of these.
        """
        count = min(count, self._limits.per_client)
        if not self._queues and self._may(client, count) and self._is_free(count):
            self._taken[client] += count
        else:
            await self._wait(client, count)
        try:
            yield
        finally:
            self._leave(client, count)

    def _may(self, client: str, count: int) -> bool:
        return self._taken[client] + count <= self._limits.per_client

    def _is_free(self, count: int) -> bool:
        return self._taken.total() + count <= self._limits.total

    async def _wait(self, client: str, count: int) -> None:
        queue = self._queues.setdefault(client, deque())
        if len(queue) >= self._limits.waiting_per_client:
            raise _too_many(client)
        if self._shutdown is not None and self._shutdown.is_set():
            raise _stopping()
        if self._shutdown is not None and self._stopping is None:
            self._stopping = asyncio.create_task(self._shutdown.wait())
            self._stopping.add_done_callback(lambda _: self._refuse_all())
        waiting = _Waiting(asyncio.get_running_loop().create_future(), count)
        queue.append(waiting)
        self._give()  # its turn may have come
        turn = waiting.turn
        try:
            async with asyncio.timeout(self._limits.seconds):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self._leave(client, count)  # the seat came together with the end of the wait
            elif waiting in queue:
                queue.remove(waiting)
                self._forget(client)
                self._give()  # to those that it stood before
            if isinstance(error, TimeoutError):
                raise _too_many(client) from None
            raise

    def _refuse_all(self) -> None:
        for waiting in chain.from_iterable(self._queues.values()):
            if not waiting.turn.done():
                waiting.turn.set_exception(_stopping())

    def _leave(self, client: str, count: int) -> None:
        self._taken[client] -= count
        if not self._taken[client]:
            del self._taken[client]
        self._give()

    def _give(self) -> None:
        """Give free seats to those who wait, one client after the other."""
        while self._give_once():
            pass

    def _give_once(self) -> bool:
        """Give at most one request of each client its seats; return whether one got any."""
        was_given = False
        for client in list(self._queues):
            queue = self._queues[client]
            while queue and queue[0].turn.done():  # whose wait has ended
                queue.popleft()
            if queue and self._may(client, queue[0].count):
                if not self._is_free(queue[0].count):
                    return False  # those behind it that want less do not pass it
                waiting = queue.popleft()
                self._taken[client] += waiting.count
                waiting.turn.set_result(None)
                self._queues.move_to_end(client)
                was_given = True
            self._forget(client)
        return was_given

    def _forget(self, client: str) -> None:
        if client in self._queues and not self._queues[client]:
            del self._queues[client]


def _too_many(client: str) -> SeatError:
    return SeatError(
        429, f"{client} has as many requests open as may be: wait for some of them first"
    )


def _stopping() -> SeatError:
    return SeatError(503, "the server stops: ask again when it is back")
