"""A store whose clients write only when all of them have read the same state."""

import asyncio
from collections.abc import Awaitable

from upwell.api.meta import Resource
from upwell.store.memory import MemoryStore


class RacingStore(MemoryStore):
    """A store in which clients of a race have all decided before the first of them writes."""

    _race: asyncio.Barrier | None = None

    async def race[T](self, *clients: Awaitable[T]) -> list[T | BaseException]:
        """Run clients that write at once; return their results, or what they raise."""
        self._race = asyncio.Barrier(len(clients))
        return await asyncio.gather(*clients, return_exceptions=True)

    async def create[R: Resource](self, resource: R) -> R:
        await self._meet()
        return await super().create(resource)

    async def update_status[R: Resource](self, resource: R) -> R:
        await self._meet()
        return await super().update_status(resource)

    async def _meet(self) -> None:
        race = self._race
        if race is None:
            return
        if race.n_waiting == race.parties - 1:
            self._race = None  # who writes again has nobody to wait for
        async with asyncio.timeout(60):
            await race.wait()
