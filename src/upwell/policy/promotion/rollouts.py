"""Progress of a promotion's rollouts: the images that a stage's workloads have and run."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from upwell.api.conditions import DEGRADED, find
from upwell.api.meta import ObjectKey, Resource
from upwell.api.pipeline import ClusterProgress
from upwell.policy.builds.triggers import digest_of
from upwell.policy.health.fault import FaultEvent, HealthFault
from upwell.policy.health.judgement import faults_of
from upwell.policy.promotion.moves import Move
from upwell.policy.rollouts.degradation import DegradedReason
from upwell.policy.rollouts.history import Phase
from upwell.policy.rollouts.image_ownership import declared_images
from upwell.policy.rollouts.report import AVAILABLE
from upwell.policy.rollouts.settings import WORKLOADS, Workload
from upwell.policy.rollouts.summary import RolloutState, rollout_of
from upwell.policy.rollouts.triggers import HOLD_ANNOTATION, Slot, hold_text


class RolledOut(StrEnum):
    """State of the rollouts of a stage, taken together."""

    COMPLETE = "Complete"
    GOING_ON = "GoingOn"
    FAILED = "Failed"
    TAKEN_OVER = "TakenOver"
    """A person has put something else there, and holds it."""


@dataclass(frozen=True, slots=True)
class StageRollout:
    """State of the rollouts of a stage, and what they wait for or why they failed."""

    state: RolledOut
    message: str = ""
    commit: str = ""
    """The commit that has the images, of a stage that is kept in git; the one of somebody else
    that has taken over."""
    until: datetime | None = None
    """Time at which it is looked at again, if that is known."""
    well_since: datetime | None = None
    """Time since which no workload has lacked replicas, as far as is known."""
    review: bool = False
    """True if people have to merge the change first."""
    digests: frozenset[str] = frozenset()
    """Digests that instances run, when it is complete; none where that cannot be seen."""
    clusters: tuple[ClusterProgress, ...] = ()
    """Of a stage on clusters, how each of them stands."""
    away: bool = False
    """True if it goes on once a cluster answers again, or allows again what it has denied."""
    begun: bool = True
    """False if nothing has been set: on a cluster, its turn is still to come."""
    untimed: bool = False
    """True if the stage's time for rollouts does not run meanwhile."""


@dataclass(frozen=True, slots=True)
class Placed:
    """A workload of a stage, and the images that it shall have."""

    workload: Resource
    images: Mapping[Slot, str]

    @property
    def key(self) -> ObjectKey:
        """The workload's key."""
        return self.workload.key

    @property
    def is_missing(self) -> bool:
        """True if a container of its template has another image."""
        return declared_images(self.workload, self.images) != dict(self.images)

    @property
    def digests(self) -> frozenset[str]:
        """Digests of the images."""
        return frozenset(map(digest_of, self.images.values()))


def as_declared(workload: Resource, images: Mapping[Slot, str]) -> dict[Slot, str]:
    """Return the images as the template spells them, where it has their digests already."""
    declared = declared_images(workload, images)
    return {
        slot: declared[slot] if digest_of(declared[slot]) == digest_of(image) else image
        for slot, image in images.items()
    }


def promotion_mark(placed: Placed, move: Move) -> str:
    """Return the annotation that says on a workload whose images it has."""
    note = {
        "pipeline": f"{move.pipeline.namespace}/{move.pipeline.name}",
        "stage": move.stage.name,
        "release": move.release.name,
        "containers": sorted(slot[0] for slot in placed.images),
    }
    return json.dumps(note)


def combined(rollouts: Iterable[StageRollout]) -> StageRollout:
    """Say how the rollouts of all workloads stand; the first that has failed decides."""
    going: list[str] = []
    turns: list[datetime] = []
    digests: set[str] = set()
    away = False
    for found in rollouts:
        away |= found.away
        if found.well_since is not None:
            turns.append(found.well_since)
        digests |= found.digests
        if found.state in {RolledOut.FAILED, RolledOut.TAKEN_OVER}:
            return found
        if found.state is RolledOut.GOING_ON:
            going.append(found.message)
    if going:
        return StageRollout(RolledOut.GOING_ON, "; ".join(going), away=away)
    latest = max(turns, default=None)
    return StageRollout(RolledOut.COMPLETE, well_since=latest, digests=frozenset(digests))


def drift_text(placed: Placed) -> str:
    """Return what a workload has in place of what was promoted; empty: nothing, or it is held."""
    workload = placed.workload
    if HOLD_ANNOTATION in workload.annotations:
        return ""
    declared = declared_images(workload, placed.images)
    other = [
        f"container {slot[0]} has {declared[slot]} in place of {image}"
        for slot, image in placed.images.items()
        if digest_of(declared[slot]) != digest_of(image)
    ]
    return f"{workload.key}: {', '.join(other)}" if other else ""


def workload_rollout(placed: Placed) -> StageRollout:
    """Say how the rollout of a workload stands that this Upwell rolls out itself."""
    found = without_images(placed) if placed.is_missing else _of_template(placed.workload)
    if found.state is not RolledOut.COMPLETE:
        return found
    return replace(found, well_since=last_turn(placed.workload), digests=_running(placed))


def without_images(placed: Placed) -> StageRollout:
    """Say of a workload that lacks an image whether it gets it."""
    workload = placed.workload
    if HOLD_ANNOTATION in workload.annotations:
        why = f"{workload.key} is held by a person: {hold_text(workload)}"
        return StageRollout(RolledOut.TAKEN_OVER, why)
    return StageRollout(RolledOut.GOING_ON, f"{workload.key} gets its images")


def _running(placed: Placed) -> frozenset[str]:
    """Return the digests of a workload's images, if an instance of it is ready."""
    workload = placed.workload
    if not isinstance(workload, WORKLOADS) or not workload.status.ready_replicas:
        return frozenset()
    return placed.digests


def last_turn(workload: Resource) -> datetime | None:
    """Return when a workload turned between lacking replicas and lacking none, last."""
    if not isinstance(workload, WORKLOADS):
        return None
    found = (find(workload.status.conditions, name) for name in (AVAILABLE, DEGRADED))
    times = [one.last_transition_time for one in found if one is not None]
    return max((time for time in times if time is not None), default=None)


def _degraded(workload: Workload) -> HealthFault | None:
    """Return the degradation of what is rolled out; that of what was there before says nothing."""
    newest = next(iter(workload.status.revisions), None)
    seen = (workload.status.observed_generation or 0) >= workload.generation
    if not seen or newest is None or newest.phase != Phase.COMPLETE:
        return None
    found = [one for one in faults_of(workload) if one.event is FaultEvent.WORKLOAD_DEGRADED]
    own = [one for one in found if one.since is None or one.since >= newest.created]
    return own[0] if own else None


def _of_template(workload: Resource) -> StageRollout:
    if not isinstance(workload, WORKLOADS):
        return StageRollout(RolledOut.COMPLETE)  # a CronJob: its next run has the image
    return _progress(workload)


def _progress(workload: Workload) -> StageRollout:
    """Say how the rollout of a workload stands, and whether what it rolled out stays up."""
    rollout = rollout_of(workload)
    text = f"{workload.key}: {rollout.text}"
    degraded = _degraded(workload)
    if degraded is not None:
        looping = degraded.reason == DegradedReason.CRASH_LOOP
        state = RolledOut.FAILED if looping else RolledOut.GOING_ON
        return StageRollout(state, f"{workload.key}: {degraded.message}")
    match rollout.state:
        case RolloutState.COMPLETE:
            return StageRollout(RolledOut.COMPLETE)
        case RolloutState.FAILED:
            return StageRollout(RolledOut.FAILED, text)
        case _:
            return StageRollout(RolledOut.GOING_ON, text)
