"""Clocks that tests turn by hand, or that go on by themselves."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta


@dataclass
class SecondsClock:
    """Wall time or monotonic time, as a float of seconds."""

    now: float = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class TickingClock:
    """The time in UTC, a second later at each reading."""

    time: datetime = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        self.time += timedelta(seconds=1)
        return self.time


@dataclass
class ManualTime:
    """Wall time, as a datetime."""

    now: datetime

    def __call__(self) -> datetime:
        return self.now
