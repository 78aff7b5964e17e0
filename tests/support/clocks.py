"""Clocks of seconds that tests turn by hand."""

from dataclasses import dataclass


@dataclass
class SecondsClock:
    """Wall time or monotonic time, as a float of seconds."""

    now: float = 1_000_000.0

    def __call__(self) -> float:
        return self.now
