"""Waits for what a watch reports of a component."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from upwell.machine.components import Components, ComponentState


@asynccontextmanager
async def running(loop: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    task = asyncio.create_task(loop)
    try:
        yield
    finally:
        task.cancel()


async def state(components: Components, holds: Callable[[ComponentState], bool]) -> ComponentState:
    async with asyncio.timeout(60):
        async for states in components.changes():
            if states and holds(states[0]):
                return states[0]
    raise AssertionError
