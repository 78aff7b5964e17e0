"""Seconds that a test lets pass, for candidates that may each be stopped and go on."""

import asyncio
from dataclasses import dataclass, field

_TURNS = 40
"""Of the event loop, in which all happens that follows from a moment: stores need some."""


@dataclass
class SimulatedTime:
    """Time that goes from one wait's end to the next."""

    now: float = 1000.0
    _waits: list[tuple[float, "SleepingProcess", asyncio.Future[None]]] = field(
        default_factory=list
    )

    def __call__(self) -> float:
        return self.now

    async def advance(self, seconds: float) -> None:
        """Let `seconds` pass; what is due meanwhile happens in its order."""
        end = self.now + seconds
        while True:
            await _settled()
            self._waits = [wait for wait in self._waits if not wait[2].done()]
            due = [wait for wait in self._waits if not wait[1].stopped and wait[0] <= end]
            if not due:
                break
            at, _, woken = min(due, key=lambda wait: wait[0])
            self.now = max(self.now, at)
            woken.set_result(None)
        self.now = end
        await _settled()

    def add(self, due: float, process: "SleepingProcess", woken: asyncio.Future[None]) -> None:
        self._waits.append((due, process, woken))


@dataclass
class SleepingProcess:
    """The waits of one process; while it is stopped (SIGSTOP), none of them ends."""

    time: SimulatedTime
    stopped: bool = False

    async def sleep(self, seconds: float) -> None:
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.time.add(self.time.now + seconds, self, woken)
        await woken


async def _settled() -> None:
    for _ in range(_TURNS):
        await asyncio.sleep(0)
