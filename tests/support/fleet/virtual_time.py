"""An event loop whose time is virtual: it jumps to the next timer when nothing is to be done."""

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from contextvars import Context
from math import ceil
from typing import Any

_DIGITS = 6
"""Of seconds: time goes on by whole microseconds, so that whoever is woken is never too early."""


class NothingLeftError(RuntimeError):
    """Deadlock: no timer is left that could wake a task."""


class _VirtualSelector(selectors.SelectSelector):
    """Waits in no time; no file is ever ready."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise NothingLeftError
        self.now = round(self.now + max(timeout, 0.0), _DIGITS)
        return []


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """Runs tasks and timers; it knows no files and no threads."""

    def __init__(self) -> None:
        self._virtual = _VirtualSelector()
        super().__init__(self._virtual)

    def time(self) -> float:
        """Return the virtual seconds since the loop was made."""
        return self._virtual.now

    def call_at[*Ts](
        self,
        when: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """Call at a whole microsecond after `when`, the first or second."""
        when = (ceil(when * 10**_DIGITS) + 1) / 10**_DIGITS
        return super().call_at(when, callback, *args, context=context)


def run_in_virtual_time[T](work: Coroutine[Any, Any, T]) -> T:
    """Run `work` to its end on a loop of its own, and return what it returns."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop, debug=False) as runner:
        return runner.run(work)
