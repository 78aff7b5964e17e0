"""Degradation of a workload: fewer replicas are available than are wanted, and no rollout is why.

Kubernetes' `Available` is about the minimum only, and a rollout under way is judged by its own
deadline. The condition `Degraded` says the rest; it is there once a workload was degraded.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from upwell.api.apps import RevisionRecord
from upwell.api.conditions import AS_EXPECTED, DEGRADED
from upwell.api.conditions import find as find_condition
from upwell.api.meta import Condition
from upwell.api.pod import PULL_BACK_OFF
from upwell.policy.rollouts.history import Phase, find
from upwell.policy.rollouts.instance import index_of, is_available, replica_of, stays_up_at
from upwell.policy.rollouts.settings import Workload, is_test
from upwell.policy.rollouts.snapshot import PASSING, RolloutSnapshot
from upwell.policy.rollouts.steps import ENDED_STARTS
from upwell.workload.errors import ImagePullError
from upwell.workload.interface import Instance, State

_MAX_WORDS = 1500
"""Characters of an application's last lines that the condition carries."""


class DegradedReason(StrEnum):
    """Reason of the condition Degraded, in the words of a Pod's status."""

    CRASH_LOOP = "CrashLoopBackOff"
    NOT_READY = "ContainersNotReady"
    NO_IMAGE = PULL_BACK_OFF


@dataclass(frozen=True, slots=True)
class Degradation:
    """The condition, if there is one, and when the same state may mean another."""

    condition: Condition | None
    look_again: datetime | None = None


def degradation(workload: Workload, snapshot: RolloutSnapshot, now: datetime) -> Degradation:
    """Say whether the workload is degraded."""
    before = find_condition(workload.status.conditions, DEGRADED)
    chosen = snapshot.chosen.record
    record = find(snapshot.records, chosen.hash) if chosen is not None else None
    if record is None or snapshot.failed_hash == record.hash:
        return Degradation(before)  # nothing has begun, or another revision is about to serve
    return _Judged(workload, snapshot, record, before, now).degradation()


@dataclass(frozen=True, slots=True)
class _Judged:
    """A workload's revision, as it is judged at one moment."""

    workload: Workload
    snapshot: RolloutSnapshot
    record: RevisionRecord
    before: Condition | None
    now: datetime

    def degradation(self) -> Degradation:
        degraded = self.before is not None and self.before.is_true
        available = [one for one in self._replicas() if self._is_available(one)]
        if len(available) >= self._desired():
            return self._whole(available) if degraded else Degradation(self.before)
        troubles = [] if self.record.phase == Phase.PROGRESSING else self._troubles(available)
        if not troubles:
            return Degradation(self.before, min(self._times(), default=None))
        return Degradation(self._condition(len(available), troubles), None)

    def _whole(self, available: Sequence[Instance]) -> Degradation:
        """Say that it is whole again, once what has ended before has stayed up."""
        ups = [replica_of(one, drained=False) for one in available if one.restarts]
        late = [one.restart_at for one in ups if one.restart_at > self.now]
        if late:
            return Degradation(self.before, max(late))
        message = self._head(len(available))
        condition = Condition(type=DEGRADED, status="False", reason=AS_EXPECTED, message=message)
        return Degradation(condition)

    def _condition(self, available: int, troubles: Sequence[tuple[str, str]]) -> Condition:
        reason, words = min(troubles, key=lambda one: one[0] != DegradedReason.CRASH_LOOP)
        known = self.before is not None and self.before.is_true
        if self.before is not None and known and self.before.reason == reason:
            # The words of its first end stay: each end anew may tell another time.
            words = self.before.message.partition(": ")[2] or words
        suffix = f": {words.strip()[-_MAX_WORDS:]}" if words.strip() else ""
        message = f"{self._head(available)}{suffix}"
        return Condition(type=DEGRADED, status="True", reason=reason, message=message)

    def _head(self, available: int) -> str:
        number = self.record.revision
        return f"{available} of {self._desired()} replicas of revision {number} are available"

    def _desired(self) -> int:
        complete = self.record.phase == Phase.COMPLETE
        return 0 if complete and is_test(self.workload) else self.snapshot.settings.replicas

    def _replicas(self) -> list[Instance]:
        """Return the replicas that count: during a rollout, of every revision."""
        if self.record.phase == Phase.PROGRESSING:
            return list(self.snapshot.instances)
        return [
            one
            for one in self.snapshot.instances
            if one.revision == self.record.hash
            and index_of(one.name) < self.snapshot.settings.replicas
        ]

    def _is_available(self, instance: Instance) -> bool:
        return is_available(instance, self.snapshot.settings.min_ready, self.now)

    def _troubles(self, available: Sequence[Instance]) -> list[tuple[str, str]]:
        """Return reason and words of all that keeps replicas from being available."""
        good = {one.name for one in available}
        unready = [one for one in self._replicas() if one.name not in good]
        found = [(_reason(one), one.message) for one in unready if not self._is_coming(one)]
        obstacle = self.snapshot.obstacle
        missing = len(self._replicas()) < self._desired()
        if missing and obstacle is not None and obstacle.reason not in PASSING:
            pull = obstacle.reason == ImagePullError.reason
            reason = DegradedReason.NO_IMAGE.value if pull else obstacle.reason
            found.append((reason, obstacle.message))
        if not found and self.record.phase == Phase.FAILED:
            found.append((DegradedReason.NOT_READY.value, self.record.message))
        return found

    def _is_coming(self, instance: Instance) -> bool:
        """Return True for a replica that was started since, and may still take its time."""
        if instance.state is State.EXITED or instance.restarts:
            return False
        if self.record.phase == Phase.FAILED:
            return False
        whole = self.record.completed_at or self.record.live_at or self.record.created
        begun = instance.begun_at or instance.started_at
        return begun > whole and self.now < begun + self.snapshot.settings.deadline

    def _times(self) -> list[datetime]:
        """Return the times ahead at which a replica that is coming is late, or has stayed up."""
        times = []
        for one in self._replicas():
            begun = one.begun_at or one.started_at
            times += [begun + self.snapshot.settings.deadline, stays_up_at(one) or self.now]
        return [time for time in times if time > self.now]


def _reason(instance: Instance) -> str:
    lost = instance.state is State.LOST or instance.losses > 0  # by the machine: no crash
    looping = instance.restarts >= ENDED_STARTS - 1 and not lost
    return (DegradedReason.CRASH_LOOP if looping else DegradedReason.NOT_READY).value
