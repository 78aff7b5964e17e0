"""Stops of instances that go on while their workload is looked at: one may take its grace time."""

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager

from upwell.workload.errors import WorkloadError
from upwell.workload.interface import Runtime

_AT_ONCE_SECONDS = 1.0
"""Time that is waited for stops which have just begun: most are over by then.

Nobody waits longer, since there are few workers, and each instance that ends has to be seen."""


class PendingStops:
    """Begins stops and collects their ends; nothing needs to be remembered across a restart."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._tasks: dict[str, asyncio.Task[None]] = {}
        """Instance -> its stop; one that failed is kept until somebody asks for it again."""

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        """On the way out, leave stops that are not over to the next process."""
        try:
            yield
        finally:
            tasks = list(self._tasks.values())
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def names(self) -> frozenset[str]:
        """Names of the instances whose stop has begun and is not over."""
        return frozenset(name for name, task in self._tasks.items() if not task.done())

    async def stop(self, names: Collection[str], grace: float) -> list[WorkloadError]:
        """Stop these, unless that has begun already; return what went wrong so far."""
        begun = {
            asyncio.create_task(self._stop(name, grace), name=f"stop:{name}"): name
            for name in names
            if name not in self._tasks
        }
        self._tasks.update({name: task for task, name in begun.items()})
        if begun:
            await asyncio.wait(begun, timeout=_AT_ONCE_SECONDS)
        return [error for name in names if (error := self._error(name)) is not None]

    async def _stop(self, name: str, grace: float) -> None:
        await self._runtime.stop(name, grace)
        del self._tasks[name]

    def _error(self, name: str) -> WorkloadError | None:
        """Return why a stop failed, and forget it: it may be begun again."""
        task = self._tasks.get(name)
        if task is None or not task.done():
            return None
        del self._tasks[name]
        try:
            task.result()
        except WorkloadError as error:
            return error
        return None
