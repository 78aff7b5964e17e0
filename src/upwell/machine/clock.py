"""The one reading of the machine's clock; what must not wait in a test gets a Clock injected.

The time of this process is steady: it follows the machine's clock, but not its jumps, so that no
wait, deadline or age is ended or prolonged by them (docs/adr/0021).
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

JUMP = timedelta(seconds=3)
"""Difference between two looks from which on it is a jump: less is followed step by step."""
ADOPTED_AFTER = timedelta(hours=1)
"""The time for which a jumped clock has to go on evenly before it is believed."""

_MOST_FUTURE_TIMES = 10_000
_ONE_MOMENT = 0.5
"""Seconds."""
_CERTAIN_AFTER = 600.0
"""Seconds; longer than a push takes between two of its requests."""
_TICK_SLACK = 0.01
"""Part of a period: an event loop wakes up to its clock's resolution early, which is the tick."""
_SLEW = 0.1
"""Part of the time that passes by which a small difference is made up for."""


@dataclass(frozen=True, slots=True)
class ClockJump:
    """A jump of the machine's clock that the time of this process has not followed."""

    by: timedelta
    """Ahead of the time of this process, or, where negative, behind it."""
    adopted_at: datetime
    """UTC, in the time of this process: from then on the machine's clock is believed."""


class SteadyClock:
    """The machine's clock as it was at the start, plus the time that has passed since.

    Time that the machine was suspended counts as a jump: nothing ran in it.
    """

    def __init__(
        self,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._wall = wall
        self._monotonic = monotonic
        self._anchor = wall()
        self._anchored_at = monotonic()
        self._ahead = 0.0
        """Seconds of a small difference that are still to be made up for, since the anchor."""
        self._jump: ClockJump | None = None
        self._doubted_at = monotonic()

    def is_certain(self) -> bool:
        """Return True if no jump was noticed for some minutes: what is old by it is old.

        Nothing that a clock ahead calls old is removed while somebody may be at work on it.
        """
        return self._monotonic() - self._doubted_at >= _CERTAIN_AFTER

    def now(self) -> datetime:
        """Return the time, in UTC; it never goes back but when a jump is believed at last."""
        return _time(self._seconds(self._monotonic()))

    def placed(self, stamp: float) -> float:
        """Return a time by the machine's clock, as files have it, by this one; both since 1970.

        After a jump it may be from before or after that: it is the later one that has passed.
        """
        passed, wall = self._read()
        steady = self._seconds(passed)
        ahead = wall - steady
        if abs(ahead) < JUMP.total_seconds():
            return stamp
        return max((one for one in (stamp, stamp - ahead) if one <= steady), default=steady)

    def observe(self) -> ClockJump | None:
        """Compare with the machine's clock, follow a small difference, and return a jump.

        To be called every second or two, by one caller.
        """
        passed, wall = self._read()
        steady = self._seconds(passed)
        difference = timedelta(seconds=wall - steady)
        if abs(difference) < JUMP:
            self._anchor_at(steady, passed, ahead=wall - steady)
            self._jump = None
        elif self._jump is None or abs(difference - self._jump.by) >= JUMP:
            self._jump = ClockJump(difference, _time(steady) + ADOPTED_AFTER)
        elif _time(steady) >= self._jump.adopted_at:
            self._anchor_at(wall, passed)
            self._jump, self._doubted_at = None, passed
        if self._jump is not None:
            self._doubted_at = passed
        return self._jump

    def _read(self) -> tuple[float, float]:
        """Return the monotonic time and the machine's, of one moment."""
        while True:
            passed, wall = self._monotonic(), self._wall()
            if self._monotonic() - passed < _ONE_MOMENT:  # else it was stopped between the two
                return passed, wall

    def _anchor_at(self, time: float, passed: float, ahead: float = 0) -> None:
        self._anchor, self._anchored_at, self._ahead = time, passed, ahead

    def _seconds(self, monotonic: float) -> float:
        passed = monotonic - self._anchored_at
        most = passed * _SLEW
        return self._anchor + passed + min(max(self._ahead, -most), most)


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


class PastTimes:
    """Times that were written down in the past, as they count now.

    One that lies in the future was written while the clock was ahead: it counts as the time at
    which it is first seen here, so that what is counted from it passes.
    """

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._seen: dict[datetime, datetime] = {}

    def __call__(self, written: datetime) -> datetime:
        """Return the time, or, for one in the future, when it was first seen."""
        now = self._clock()
        if written <= now and written not in self._seen:
            return written
        if len(self._seen) >= _MOST_FUTURE_TIMES:
            self._seen.clear()
        first = self._seen[written] = min(self._seen.get(written, now), now)
        return first


PROCESS_CLOCK = SteadyClock()
"""The time of this process; the server lets it observe the machine's clock."""


def now() -> datetime:
    """Return the time of this process, in UTC."""
    return PROCESS_CLOCK.now()


def seconds() -> float:
    """Return the time of this process, in seconds since 1970, as files are stamped with."""
    return now().timestamp()


def elapsed() -> float:
    """Return the seconds that have passed since some moment of this boot: no clock changes them."""
    return time.monotonic()


def until_tick(period: float, now: Callable[[], float] = elapsed) -> float:
    """Return the seconds until `elapsed` is the next whole multiple of `period`, in seconds.

    Loops that look again and again sleep until then: those of one period, and of its multiples,
    have their turns together, and a process without work wakes once for all of them.
    """
    left = period - now() % period
    return left if left > period * _TICK_SLACK else left + period


class Clock(Protocol):
    """Tells the time and waits."""

    def now(self) -> datetime:
        """Return the time, in UTC."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return after `seconds`."""
        ...


class SystemClock:
    """The time of this process, and its waits."""

    def now(self) -> datetime:
        """Return the time, in UTC."""
        return now()

    async def sleep(self, seconds: float) -> None:
        """Return after `seconds`."""
        await asyncio.sleep(seconds)
