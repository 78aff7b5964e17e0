"""Backoff: the one way to wait ever longer for what fails again and again."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Backoff:
    """Waits between tries of what fails: doubling from `first` to `longest`, with jitter.

    Seconds. Jitter takes up to half of a wait away, so that those who fail together part.
    """

    first: float = 0.5
    longest: float = 300.0
    jitter: Callable[[], float] = field(default=random.random, repr=False)

    def delay(self, failures: int) -> float:
        """Return the wait after this many failures in a row."""
        # 2**63 seconds is beyond any limit; a larger exponent would overflow a float.
        full = min(self.first * 2.0 ** min(failures - 1, 63), self.longest)
        return full * (1 - self.jitter() / 2)


def asked_delay(error: Exception) -> float:
    """Return the seconds that an error's `retry_after` asks to wait; 0: it asks for none."""
    return float(getattr(error, "retry_after", None) or 0)
