"""The one loop for writes that may lose a race: read and decide anew, write again."""

from collections.abc import Awaitable, Callable

from upwell.store.interface import ConflictError

UPDATE_TRIES = 20
"""Against other writers of the same object: nobody is asked to try again at once."""


async def update_with_retry[Decided, Written](
    decide: Callable[[], Awaitable[Decided]], write: Callable[[Decided], Awaitable[Written]]
) -> Written:
    """Write what `decide` makes of the state as it is now, again when the write conflicts.

    Raises the last write's ConflictError after UPDATE_TRIES, and what `decide` raises at once:
    a client's own stale resourceVersion does not get newer.
    """
    for _ in range(UPDATE_TRIES - 1):
        decided = await decide()
        try:
            return await write(decided)
        except ConflictError:
            continue
    return await write(await decide())
