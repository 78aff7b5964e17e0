"""Soak of a stage: only time in which a Release was watched, and served well, counts."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from upwell.api.pipeline import Stage
from upwell.api.promotion import Promotion, Purpose

LONGEST_GAP = 60.0
"""Seconds between two looks from which on nobody has watched: the process itself was stopped."""
_PARTS = 10
"""The progress of a soak is stored so many times, but …"""
_STORED_SECONDS = 60.0
"""… at least after so much of it: a kill loses no more."""


@dataclass(frozen=True, slots=True)
class Soak:
    """Time for which a Release must serve well, and how much of it was seen."""

    seconds: float
    since: datetime | None
    """Time since which it serves."""
    served: float = 0
    """Seconds for which it was seen to serve well."""

    @property
    def left(self) -> float:
        """Seconds that are missing."""
        return max(self.seconds - self.served, 0)

    @property
    def progress(self) -> int:
        """Seconds of it that are stored and shown: in steps, so that this is rarely written."""
        if not self.left:
            return int(self.seconds)
        step = max(min(_STORED_SECONDS, self.seconds / _PARTS), 1)
        return int(self.served // step * step)

    @property
    def text(self) -> str:
        """Progress, for people."""
        return f"soaked {self.progress} s of {self.seconds:g} s"

    def end(self, now: datetime) -> datetime:
        """Return when it is over, as far as is known: later by all time that did not count."""
        since = self.since or now
        wanted = since + timedelta(seconds=self.seconds)
        uncounted = (now - since).total_seconds() - self.served
        return wanted + timedelta(seconds=max(uncounted, 0))


def soak_of(stage: Stage, promotion: Promotion) -> Soak:
    """Return the soak of a promotion, as its status has it.

    What serves already has had its own: to verify it again is to ask its checks again.
    """
    seconds = 0 if promotion.spec.purpose is Purpose.VERIFY else stage.soak_seconds
    return Soak(seconds, promotion.status.serving_since, promotion.status.soaked_seconds)


@dataclass(frozen=True, slots=True)
class SoakLook:
    """A look at a Release that soaks."""

    at: datetime
    elapsed: float
    """Seconds by a clock that nobody sets, within one run of the process."""
    doubt: str
    """Fault that stands against it now; empty: none."""
    well_since: datetime
    """Time since which nothing has stood against it."""


def credited(before: SoakLook | None, now: SoakLook) -> float:
    """Return the seconds between two looks of one process that count."""
    if before is None or before.doubt or now.doubt or now.well_since > before.at:
        return 0
    passed = now.elapsed - before.elapsed
    return passed if 0 <= passed <= LONGEST_GAP else 0
