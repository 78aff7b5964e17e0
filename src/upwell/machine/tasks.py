"""Work that is done side by side, and the errors of it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


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
