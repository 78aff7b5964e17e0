"""Waits for a state with a deadline, instead of for a time."""

import asyncio
from collections.abc import Awaitable, Callable

DEADLINE_SECONDS = 60.0
_POLL_SECONDS = 0.02


async def eventually[T](observe: Callable[[], Awaitable[T]], holds: Callable[[T], bool]) -> T:
    """Observe until it holds, and return what was observed; fails with what was seen last."""
    seen = await observe()
    try:
        async with asyncio.timeout(DEADLINE_SECONDS):
            while not holds(seen):
                await asyncio.sleep(_POLL_SECONDS)
                seen = await observe()
    except TimeoutError:
        raise AssertionError(f"still after {DEADLINE_SECONDS:.0f} s: {seen}") from None
    return seen
