"""Soaks that go on: adds up the time between looks of this process that counts.

Memory is exact, and what the Promotion's status has is a little less: a new process begins there.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from upwell.api.meta import ObjectKey
from upwell.api.promotion import Promotion
from upwell.machine.clock import PastTimes
from upwell.policy.promotion.rollouts import RolledOut, StageRollout
from upwell.policy.promotion.verification.soak import SoakLook, credited
from upwell.reconcilers.promotion.machine_watch import MachineRecord


@dataclass(frozen=True, slots=True)
class _SoakProgress:
    uid: str
    served: float
    look: SoakLook


class SoakWatch:
    """Soaks of the promotions that are verified now. `clock` is the wall clock, in UTC."""

    def __init__(self, clock: Callable[[], datetime], machine: MachineRecord) -> None:
        self._clock = clock
        self._machine = machine
        self._past = PastTimes(clock)
        self._progress: dict[ObjectKey, _SoakProgress] = {}

    def look(self, promotion: Promotion, found: StageRollout) -> tuple[float, str]:
        """Return the seconds for which it has served well, and what stands against it now."""
        before = self._progress.get(promotion.key)
        if before is not None and before.uid != promotion.uid:
            before = None
        look = self._look(found)
        served = before.served if before is not None else promotion.status.soaked_seconds
        served += credited(before.look if before is not None else None, look)
        self._progress[promotion.key] = _SoakProgress(promotion.uid, served, look)
        return served, look.doubt

    def forget(self, promotion: ObjectKey) -> None:
        """Forget a promotion that is over, or gone."""
        self._progress.pop(promotion, None)

    def _look(self, found: StageRollout) -> SoakLook:
        now = self._clock()
        turned = self._past(found.well_since) if found.well_since is not None else None
        well = self._past(self._machine.well_since())
        doubt = self._machine.fault_since(now)
        if not doubt and found.state is not RolledOut.COMPLETE:
            doubt = found.message
        return SoakLook(now, self._machine.elapsed(), doubt, max(well, turned or well))
