"""Spread of a Release over the clusters of a stage: which is next, and how all stand; pure.

Canary clusters go first, all together; then the others in steps. Clusters that are away, on which
it failed, or where somebody has set something else, are behind: others do not wait for them, up to
a number. Beyond it no further cluster begins.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from upwell.api.pipeline import ClusterPhase, ClusterProgress, Stage
from upwell.policy.promotion.clusters.targets import (
    MAX_MESSAGE,
    ClusterTarget,
    most_unavailable,
)
from upwell.policy.promotion.rollouts import RolledOut, StageRollout

_NAMED = 5
"""Clusters that a message names."""


@dataclass(frozen=True, slots=True)
class ClusterSpread:
    """A Release on its way over the clusters of a stage."""

    stage: Stage
    release: str
    targets: Sequence[ClusterTarget]
    before: Mapping[str, ClusterProgress]
    """By cluster, as it was recorded last."""
    puts_back: bool = False
    """True if it is the last good Release, which goes everywhere at once."""
    has_ended: bool = False
    """True if the promotion has ended: what a cluster had then stays on record while it is away."""

    @classmethod
    def of(
        cls,
        stage: Stage,
        release: str,
        targets: Sequence[ClusterTarget],
        recorded: Iterable[ClusterProgress],
        *,
        puts_back: bool = False,
        has_ended: bool = False,
    ) -> "ClusterSpread":
        """Return the spread; records of another Release say nothing about this one."""
        before = {one.name: one for one in recorded if one.release == release}
        return cls(stage, release, targets, before, puts_back, has_ended)

    def phase(self, target: ClusterTarget) -> ClusterPhase:
        """Return how a cluster stands before the next look."""
        known = self.before.get(target.name)
        phase = ClusterPhase.WAITING if known is None else known.phase
        is_proven = self.has_ended and phase.had_turn
        if target.away and phase is not ClusterPhase.FAILED and not is_proven:
            return ClusterPhase.AWAY
        if phase is ClusterPhase.AWAY:
            return ClusterPhase.WAITING  # it is back
        return phase

    def due(self) -> tuple[ClusterTarget, ...]:
        """Return the clusters that are to be worked on now: those that have begun, and the next."""
        phases = {one.name: self.phase(one) for one in self.targets}
        begun = {ClusterPhase.ROLLING_OUT, ClusterPhase.COMPLETE, ClusterPhase.DRIFTED}
        going = [one for one in self.targets if phases[one.name] in begun]
        waiting = [one for one in self.targets if phases[one.name] is ClusterPhase.WAITING]
        if self.puts_back or self.stage.clusters is None:
            return (*going, *waiting)
        at_once = self.stage.clusters.max_concurrency
        return (*going, *self._next(waiting, phases, at_once))

    def left_behind(self) -> tuple[ClusterTarget, ...]:
        """Return the clusters that are reached and lack it, once the others have it.

        What is set by hand stays.
        """
        return tuple(one for one in self.due() if not one.away and not self._is_settled(one))

    def settled(self) -> tuple[ClusterTarget, ...]:
        """Return the clusters that are reached and had their turn: some may have drifted."""
        return tuple(one for one in self.targets if not one.away and self._is_settled(one))

    def _is_settled(self, target: ClusterTarget) -> bool:
        return self.phase(target).had_turn

    def _next(
        self,
        waiting: Sequence[ClusterTarget],
        phases: Mapping[str, ClusterPhase],
        at_once: int,
    ) -> Sequence[ClusterTarget]:
        """Return the clusters whose turn has come."""
        if self._is_stopped(phases):
            return ()
        canaries = [one for one in self.targets if one.is_canary]
        if any(phases[one.name] is not ClusterPhase.COMPLETE for one in canaries):
            return [one for one in waiting if one.is_canary]
        rolling = sum(phase is ClusterPhase.ROLLING_OUT for phase in phases.values())
        return waiting[: max(at_once - rolling, 0)]

    def _is_stopped(self, phases: Mapping[str, ClusterPhase]) -> bool:
        behind = sum(phase.is_behind for phase in phases.values())
        return behind > most_unavailable(self.stage)

    def records(
        self, found: Mapping[str, StageRollout], now: datetime
    ) -> tuple[ClusterProgress, ...]:
        """Return how each cluster stands after a look at those that were due."""
        return tuple(self._record(one, found.get(one.name), now) for one in self.targets)

    def _record(
        self, target: ClusterTarget, found: StageRollout | None, now: datetime
    ) -> ClusterProgress:
        before = self.before.get(target.name)
        phase, message = self.phase(target), "" if before is None else before.message
        if found is not None:
            phase, message = _PHASES[found.state], found.message
            if phase is ClusterPhase.ROLLING_OUT and found.away:
                phase = ClusterPhase.AWAY
            elif phase is ClusterPhase.ROLLING_OUT and not found.begun:
                phase = ClusterPhase.WAITING
        elif phase is ClusterPhase.AWAY:
            message = target.away
        elif phase is ClusterPhase.WAITING:
            message = ""
        since = before.since if before is not None and before.phase is phase else now
        if phase is ClusterPhase.ROLLING_OUT and self._is_overdue(since, now):
            seconds = self.stage.rollout_seconds
            phase, since = ClusterPhase.FAILED, now
            message = f"not rolled out after {seconds} s: {message}"
        arrived = None if before is None else before.arrived
        if phase is ClusterPhase.COMPLETE:
            # It may have been away meanwhile, or one of its Pods been replaced.
            since = arrived = arrived or since
        elif phase in {ClusterPhase.DRIFTED, ClusterPhase.FAILED}:
            arrived = None
        return ClusterProgress(
            name=target.name,
            release=self.release,
            phase=phase,
            message=message[:MAX_MESSAGE],
            since=since,
            arrived=arrived,
        )

    def _is_overdue(self, since: datetime | None, now: datetime) -> bool:
        """Return True if a cluster takes too long: each has the time of the stage's rollouts.

        It does not run while the cluster is away.
        """
        return since is not None and now >= since + timedelta(seconds=self.stage.rollout_seconds)

    def outcome(
        self, records: Sequence[ClusterProgress], found: Mapping[str, StageRollout]
    ) -> StageRollout:
        """Say how the stage stands, taken together; of one cluster, what that one says."""
        if len(self.targets) == 1 and self.stage.clusters is None and found:
            return _of_one(next(iter(found.values())), records[0])
        failed = [one for one in records if one.phase is ClusterPhase.FAILED]
        canaries = {one.name for one in self.targets if one.is_canary}
        lost = [one for one in failed if one.name in canaries]
        if lost or len(failed) > most_unavailable(self.stage):
            return StageRollout(RolledOut.FAILED, _listed(lost or failed), clusters=tuple(records))
        if self._is_over(records, canaries):
            times = [one.well_since for one in found.values() if one.well_since is not None]
            digests = frozenset[str]().union(*(one.digests for one in found.values()))
            return StageRollout(
                RolledOut.COMPLETE,
                well_since=max(times, default=None),
                digests=digests,
                clusters=tuple(records),
            )
        text = self._progress_text(records)
        return StageRollout(RolledOut.GOING_ON, text, clusters=tuple(records), untimed=True)

    def _is_over(self, records: Sequence[ClusterProgress], canaries: set[str]) -> bool:
        done = [one for one in records if one.phase is ClusterPhase.COMPLETE]
        behind = [one for one in records if one.phase.is_behind]
        if not done or len(done) + len(behind) < len(records):
            return False
        if self.puts_back:
            return True  # what is away goes back when it is there again
        late = any(one.name in canaries for one in behind)
        return not late and len(behind) <= most_unavailable(self.stage)

    def _progress_text(self, records: Sequence[ClusterProgress]) -> str:
        done = sum(one.phase is ClusterPhase.COMPLETE for one in records)
        parts = [f"{done} of {len(records)} clusters run it"]
        going = [one for one in records if one.phase is ClusterPhase.ROLLING_OUT]
        behind = [one for one in records if one.phase.is_behind]
        parts += [_listed(some) for some in (going, behind) if some]
        if len(behind) > most_unavailable(self.stage) and not self.puts_back:
            limit = most_unavailable(self.stage)
            parts.append(f"no further cluster begins: {len(behind)} are behind, {limit} may be")
        return "; ".join(parts)


_PHASES: Mapping[RolledOut, ClusterPhase] = {
    RolledOut.COMPLETE: ClusterPhase.COMPLETE,
    RolledOut.GOING_ON: ClusterPhase.ROLLING_OUT,
    RolledOut.FAILED: ClusterPhase.FAILED,
    RolledOut.TAKEN_OVER: ClusterPhase.DRIFTED,
}


def _of_one(found: StageRollout, record: ClusterProgress) -> StageRollout:
    """Return how a stage on one cluster stands."""
    is_late = record.phase is ClusterPhase.FAILED and found.state is RolledOut.GOING_ON
    # Who has taken an image is waited for: as where Upwell runs, that says nothing of the Release.
    state = RolledOut.GOING_ON if found.state is RolledOut.TAKEN_OVER else found.state
    return StageRollout(
        RolledOut.FAILED if is_late else state,
        f"cluster {record.name}: {record.message}" if record.message else "",
        well_since=found.well_since,
        digests=found.digests,
        clusters=(record,),
        untimed=True,
    )


def _listed(records: Sequence[ClusterProgress]) -> str:
    named = [f"cluster {one.name}: {one.message}" for one in records[:_NAMED]]
    more = len(records) - _NAMED
    return "; ".join([*named, *([f"and {more} more"] if more > 0 else [])])
