"""Work that is done side by side, and the errors of it."""

import asyncio
import traceback
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Coroutine, Iterable
from contextlib import asynccontextmanager
from typing import Any


def first_error(error: Exception) -> Exception:
    """Return the first error of a group, which stands for all of it; any other as it is."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error


@asynccontextmanager
async def side_by_side() -> AsyncIterator[asyncio.TaskGroup]:
    """Task group whose first error is raised as it is, for callers that know it by its class."""
    try:
        async with asyncio.TaskGroup() as group:
            yield group
    except ExceptionGroup as errors:
        raise first_error(errors) from errors


async def together[T](work: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Do all of `work`, and return the results in its order.

    The first error ends the rest, and is raised as it is. One alone is done without a task.
    """
    work = list(work)
    if len(work) == 1:
        return [await work[0]]
    async with side_by_side() as group:
        tasks = [group.create_task(each) for each in work]
    return [task.result() for task in tasks]


async def a_few_at_once(works: Iterable[Awaitable[None]], most: int) -> None:
    """Await all of `works`, at most so many at once, each taken when there is room for it.

    The first error ends the rest, and is raised as it is once none goes on.
    """
    left = iter(works)

    async def some() -> None:
        for work in left:
            await work

    async with side_by_side() as group:
        for _ in range(most):
            group.create_task(some())


@asynccontextmanager
async def closing[T](source: AsyncIterator[T]) -> AsyncIterator[AsyncIterator[T]]:
    """Close a source with the block, however that ends.

    A generator that is left for the collector ends some time later, perhaps when what it reads from
    is gone.
    """
    try:
        yield source
    finally:
        if isinstance(source, AsyncGenerator):
            await source.aclose()


def let_go[T](ended: asyncio.Task[T]) -> None:
    """Free what a task that has ended has worked on.

    Its exception refers to its frames, these to all that was in hand, and something of that may
    refer to the task: such a circle stays until the garbage collector comes to it.
    """
    try:
        ended.result()
    except BaseException as error:  # noqa: BLE001 - it is told by who asks for the result
        traceback.clear_frames(error.__traceback__)
