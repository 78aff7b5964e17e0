"""Slots of a registry: how many requests may be open there at once, and who is next."""

import asyncio
from collections import deque

_MOST_AHEAD = 3
"""Slots in a row for urgent requests; then one that is not has its turn, however many there are."""


class RegistrySlots:
    """Slots, given in the order in which they are asked for: three of four to urgent requests."""

    def __init__(self, count: int) -> None:
        self._free = count
        """0 while somebody waits: who gives a slot back hands it to the next."""
        self._urgent: deque[asyncio.Future[None]] = deque()
        self._others: deque[asyncio.Future[None]] = deque()
        self._ahead = 0
        """Slots that urgent requests have had in a row while others waited."""

    async def acquire(self, *, urgent: bool = False) -> None:
        """Wait for a slot, which has to be released."""
        if self._free:
            self._free -= 1
            return
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        (self._urgent if urgent else self._others).append(waiting)
        try:
            await waiting
        except BaseException:
            if waiting.done() and not waiting.cancelled():
                self.release()  # the slot came together with the end of the wait
            raise

    def release(self) -> None:
        """Give a slot back."""
        while self._urgent or self._others:
            waiting = self._next()
            if not waiting.done():  # else its wait has ended
                waiting.set_result(None)
                return
        self._free += 1

    def _next(self) -> asyncio.Future[None]:
        if self._urgent and not (self._others and self._ahead >= _MOST_AHEAD):
            self._ahead += bool(self._others)
            return self._urgent.popleft()
        self._ahead = 0
        return self._others.popleft()
