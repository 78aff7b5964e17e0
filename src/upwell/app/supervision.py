"""Goes on after faults: loops that end by one are begun anew, and failed work is tried again."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

from upwell.controller import Controller
from upwell.machine.backoff import Backoff
from upwell.machine.components import Components

log = logging.getLogger(__name__)

_PAUSES = Backoff(first=1.0, longest=30.0)
_WELL_AFTER = 60.0
"""Seconds for which a loop has to run until its faults are forgotten."""


async def keep_running(
    loop: Callable[[], Coroutine[Any, Any, None]],
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Run a loop until it is cancelled, and begin it anew when it fails.

    A loop deals with the faults that it expects. What comes here is a fault of ours, or of the
    machine where none was expected: it is logged with its traceback.
    """
    faults = 0
    time = asyncio.get_running_loop().time
    while True:
        began = time()
        try:
            return await loop()
        except Exception:
            faults = 1 if time() - began > _WELL_AFTER else faults + 1
            pause = _PAUSES.delay(faults)
            log.exception("loop failed; it begins anew", extra={"retry_in": pause})
            await sleep(pause)


async def retry_after_recovery(components: Components, controllers: Sequence[Controller]) -> None:
    """Try again at once what failed while a component was faulty, when that is well again."""
    faulty: set[str] = set()
    async for states in components.changes():
        now_faulty = {state.name for state in states if state.faulty}
        if faulty - now_faulty:
            for controller in controllers:
                controller.queue.retry_now()
        faulty = now_faulty
