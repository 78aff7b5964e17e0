"""Lets all who ask for the same thing at the same time share one answer."""

import asyncio
from collections.abc import Awaitable, Callable


class SharedCall[T]:
    """A call without arguments, one run at a time.

    Who asks gets the answer of a run that began after they asked, so that nothing which was done
    before is missing from it; all who ask while a run goes on share the next. A run that fails
    fails for whoever it was run for alone.
    """

    def __init__(self, call: Callable[[], Awaitable[T]]) -> None:
        self._call = call
        self._lock = asyncio.Lock()
        self._begun = 0
        self._answer: tuple[int, T] | None = None
        """With the number of its run."""

    async def __call__(self) -> T:
        """Return an answer that is no older than this question."""
        seen = self._begun
        async with self._lock:
            if self._answer is None or self._answer[0] <= seen:
                self._begun += 1
                self._answer = self._begun, await self._call()
            return self._answer[1]
