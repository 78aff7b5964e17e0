"""The one loop for writes that may lose a race: read and decide anew, write again."""

import asyncio
import random
from collections.abc import Awaitable, Callable

from upwell.store.interface import ConflictError

UPDATE_TRIES = 20
"""Against other writers of the same object: nobody is asked to try again at once."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.001, 1.0
"""Seconds, at most: writers that lost the same race part, each after a random share of it.

A write may take as long as a slow disk does, and a crowd needs one write after the other.
"""


async def update_with_retry[Decided, Written](
    decide: Callable[[], Awaitable[Decided]], write: Callable[[Decided], Awaitable[Written]]
) -> Written:
    """Write what `decide` makes of the state as it is now, again when the write conflicts.

    Raises the last write's ConflictError after UPDATE_TRIES, and what `decide` raises at once:
    a client's own stale resourceVersion does not get newer.
    """
    for lost in range(UPDATE_TRIES - 1):
        decided = await decide()
        try:
            return await write(decided)
        except ConflictError:
            longest = min(_FIRST_PAUSE * 2**lost, _LONGEST_PAUSE)
            await asyncio.sleep(random.uniform(0, longest))  # noqa: S311 - no secret hangs on it
    return await write(await decide())
