"""Estimate of the time that a change takes to get everywhere: by past builds, in virtual time.

Imports take no time: it counts from the moment at which they have been made.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from heapq import heappop, heappush, nlargest

from upwell.api.builds.build import Build
from upwell.api.meta import ObjectKey
from upwell.api.pipeline import Freeze, Quarantine
from upwell.api.waves.wave import Wave
from upwell.policy.builds.backlog import lengths_of, median_of
from upwell.policy.explain.freshness import Snapshot
from upwell.policy.explain.graph import Node
from upwell.policy.rollouts.settings import Workload
from upwell.policy.waves.impact import (
    Impact,
    PlannedChange,
    PlannedStep,
    StepAction,
    impact_of,
)

_NO_TIME = timedelta()
_RECENT = 30
"""Builds of a change that tell its pace; it takes `_LEAST` for each that run at once."""
_LEAST = 3
_MOST = 8.0
_PAUSE = timedelta(seconds=60)
"""Time without a build that is no pace: something was waited for."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """Time at which each step has ended, from the imports on; none for what waits for a person."""

    ends: Mapping[Node, timedelta]
    guessed: int
    """Steps without a past of their own, for which the median of others was taken."""
    unknown: int
    """Steps for which nothing tells how long they take: they were taken to take no time."""
    at_once: int
    """Builds that were taken to run at the same time."""

    @property
    def whole(self) -> timedelta:
        """Time until the last step has ended."""
        return max(self.ends.values(), default=_NO_TIME)


def builds_at_once(builds: Iterable[Build]) -> int:
    """Return how many builds ran at the same time at most, among those that are kept; 1 at least.

    That is what the machine, its slots and its load made of it.
    """
    moments: list[tuple[datetime, int]] = []
    for build in builds:
        status = build.status
        if status.start_timestamp is not None and status.completion_timestamp is not None:
            moments += [(status.start_timestamp, 1), (status.completion_timestamp, -1)]
    most = running = 0
    for _, change in sorted(moments):
        running += change
        most = max(most, running)
    return max(1, most)


def estimate(impact: Impact, snapshot: Snapshot, now: datetime, *, at_once: int) -> Estimate:
    """Play the steps in the order in which the server takes them, `at_once` builds at a time.

    Those that have ended what they come from begin; of builds, those on which most stands go first.
    Builds take as much longer than earlier ones as those of this change that ended last.
    """
    lengths = _Lengths(snapshot, list(impact.steps.values()))
    steps = [one for one in impact.steps.values() if one.arrives and not one.done]
    pace = _pace(impact, snapshot, now, at_once)
    run = _Run(now, lengths, at_once, pace)
    return Estimate(run.play(steps), lengths.guessed, lengths.unknown, at_once)


def impact_and_estimate(
    snapshot: Snapshot,
    change: PlannedChange,
    now: datetime,
    *,
    freezes: Iterable[Freeze],
    quarantines: Iterable[Quarantine],
    waves: Iterable[Wave] = (),
    at_once: int | None = None,
) -> tuple[Impact, Estimate]:
    """Return what the change reaches, and how long that takes.

    Without `at_once`, as many builds run at a time as ever did.
    """
    impact = impact_of(snapshot, change, now, freezes=freezes, quarantines=quarantines, waves=waves)
    at_once = at_once or builds_at_once(snapshot.every_build())
    return impact, estimate(impact, snapshot, now, at_once=at_once)


def _pace(impact: Impact, snapshot: Snapshot, now: datetime, at_once: int) -> float:
    """Return by how much more the builds of a change took than foretold, those that ended last.

    What lies between two builds, and how busy the machine is now, is in no build's own past.
    """
    spans: list[tuple[datetime, datetime, PlannedStep]] = []
    for step in impact.steps.values():
        if not step.done or step.action is not StepAction.REBUILD:
            continue
        if not isinstance(step.node, ObjectKey):
            continue
        newest = next(iter(snapshot.builds(step.node)), None)
        status = newest.status if newest is not None else None
        if status is None or status.start_timestamp is None or status.completion_timestamp is None:
            continue
        spans.append((status.completion_timestamp, status.start_timestamp, step))
    recent = _in_a_row(nlargest(_RECENT, spans, key=lambda one: one[:2]))
    if len(recent) < _LEAST * at_once:
        return 1.0
    took = max(end for end, _, _ in recent) - min(start for _, start, _ in recent)
    steps = [replace(step, obstacles=()) for _, _, step in recent]
    lengths = _Lengths(snapshot, steps, without_newest=True)
    foretold = max(_Run(now, lengths, at_once).play(steps).values(), default=_NO_TIME)
    return min(max(took / foretold, 1 / _MOST), _MOST) if foretold else 1.0


def _in_a_row(
    spans: Sequence[tuple[datetime, datetime, PlannedStep]],
) -> Sequence[tuple[datetime, datetime, PlannedStep]]:
    """Return those, the latest first, between which no time passed in which none was built."""
    for index in range(1, len(spans)):
        if min(start for _, start, _ in spans[:index]) - spans[index][0] > _PAUSE:
            return spans[:index]
    return spans


class _Run:
    """Run of the steps in virtual time; `pace` makes builds longer."""

    def __init__(self, now: datetime, lengths: "_Lengths", at_once: int, pace: float = 1.0) -> None:
        self._pace = pace
        self._now = now
        self._lengths = lengths
        self._free = at_once
        self._ends: dict[Node, timedelta] = {}
        self._queue: list[tuple[int, str, PlannedStep]] = []
        """Builds that could begin, in the order in which they do."""
        self._going: list[tuple[timedelta, str, PlannedStep]] = []

    def play(self, steps: Sequence[PlannedStep]) -> Mapping[Node, timedelta]:
        """Return when each step has ended."""
        known = {one.node for one in steps}
        missing: dict[Node, int] = {}
        then: dict[Node, list[PlannedStep]] = defaultdict(list)
        for step in steps:
            sources = {*(edge.source for edge in step.edges), *step.after} & known
            missing[step.node] = len(sources)
            for source in sources:
                then[source].append(step)
        for step in steps:
            if not missing[step.node]:
                self._begin(step, _NO_TIME)
        self._fill(_NO_TIME)
        while self._going:
            time, _, ended = heappop(self._going)
            self._ends[ended.node] = time
            self._free += ended.action is StepAction.REBUILD
            for step in then[ended.node]:
                missing[step.node] -= 1
                if not missing[step.node]:
                    self._begin(step, time)
            if not self._going or self._going[0][0] > time:  # all that ends now has ended
                self._fill(time)
        return self._ends

    def _begin(self, step: PlannedStep, time: timedelta) -> None:
        if step.action is StepAction.REBUILD:
            heappush(self._queue, (-step.behind, str(step.node), step))
        else:
            self._go(step, time)

    def _fill(self, time: timedelta) -> None:
        while self._free and self._queue:
            self._free -= 1
            self._go(heappop(self._queue)[2], time)

    def _go(self, step: PlannedStep, time: timedelta) -> None:
        opens = [one.until - self._now for one in step.obstacles if one.until is not None]
        length = self._lengths.of(step)
        if step.action is StepAction.REBUILD:
            length *= self._pace
        end = max(time, *opens, _NO_TIME) + length
        heappush(self._going, (end, str(step.node), step))


class _Lengths:
    """Lengths of steps: the median of an object's own past, else that of the others.

    `without_newest` leaves out each newest build, where there are others.
    """

    def __init__(
        self, snapshot: Snapshot, steps: Sequence[PlannedStep], *, without_newest: bool = False
    ) -> None:
        self._snapshot = snapshot
        self._without_newest = without_newest
        self._own = {one.node: median_of(self._past(one)) for one in steps}
        self.guessed = self.unknown = 0
        grouped: dict[StepAction, list[timedelta]] = defaultdict(list)
        for one in steps:
            if (own := self._own[one.node]) is not None:
                grouped[one.action].append(own)
        self._usual = {action: median_of(found) for action, found in grouped.items()}

    def of(self, step: PlannedStep) -> timedelta:
        """Return the expected time of a step; a promotion's has its soak in it."""
        if step.action in {StepAction.IMPORT, StepAction.TAG}:
            return _NO_TIME
        own = self._own[step.node]
        if own is not None:
            return own
        usual = self._usual.get(step.action)
        if usual is None:
            self.unknown += 1
        else:
            self.guessed += 1
        soak = step.place.stage.soak_seconds if step.place is not None else 0
        return max(usual or _NO_TIME, timedelta(seconds=soak))

    def _past(self, step: PlannedStep) -> Iterator[timedelta]:
        if not isinstance(step.node, ObjectKey):
            return
        if step.action is StepAction.REBUILD:
            builds = self._snapshot.builds(step.node)
            earlier = builds[1:] if self._without_newest else ()
            yield from list(lengths_of(earlier)) or lengths_of(builds)
        elif step.place is not None:
            yield from self._snapshot.lineage.lengths(step.place)
        elif (workload := self._snapshot.workloads.get(step.node)) is not None:
            yield from _rollouts(workload)


def _rollouts(workload: Workload) -> Iterator[timedelta]:
    for revision in workload.status.revisions:
        if revision.completed_at is not None:
            yield max(revision.completed_at - revision.created, _NO_TIME)
