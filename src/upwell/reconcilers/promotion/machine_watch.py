"""State of the machine that promotions stand on: a fault of it is no fault of a Release."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class MachineRecord:
    """Questions about runtime, router and the rest of what the server stands on."""

    well_since: Callable[[], datetime]
    """Returns since when (UTC) all of it is watched and without fault: now, while it is not."""
    fault_since: Callable[[datetime], str]
    """Returns a fault that lasted at a time, or came later; empty: none is known."""
    elapsed: Callable[[], float]
    """Returns the seconds that have passed in this process, by a clock that nobody sets."""


def faultless(clock: Callable[[], datetime]) -> MachineRecord:
    """Return the record of a machine that has no fault, and whose clock nobody sets."""
    began = clock()
    return MachineRecord(lambda: began, lambda _: "", lambda: clock().timestamp())
