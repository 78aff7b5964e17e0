"""Faults of Pipelines: the newest Release was rejected, or a stage's newest promotion failed."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from upwell.api.conditions import AS_EXPECTED, DEGRADED, find
from upwell.api.meta import Condition, Resource
from upwell.api.pipeline import ClusterPhase, ClusterProgress, Pipeline
from upwell.api.promotion import Promotion, PromotionPhase, Release
from upwell.policy.health.fault import FaultEvent, HealthFault
from upwell.policy.rollouts.report import DRIFTED
from upwell.policy.rollouts.settings import WORKLOADS

_NAMED = 5
"""Clusters that a message names."""


@dataclass(frozen=True, slots=True)
class StageObstacle:
    """Reason why the workloads of a stage cannot be set, or followed, where they run."""

    reason: str
    """Of the condition of the Pipeline."""
    message: str


def rejection_of(release: Release) -> str:
    """Return by whom, where and why a Release was rejected; empty when it was not."""
    no = release.status.rejection
    if no is None:
        return ""
    who = f" by {no.by}" if no.by else ""
    where = f" in stage {no.stage}" if no.stage else ""
    return f"release {release.name} was rejected{who}{where}: {no.reason}"


def failure_of(promotion: Promotion) -> str:
    """Return what has failed, and why."""
    spec, why = promotion.spec, promotion.status.message
    what = f"{spec.purpose.value} of {spec.release} in stage {spec.stage} has failed"
    return f"{what}: {why}" if why else what


def pipeline_degradation(
    newest: Release | None,
    promotions: Iterable[Promotion],
    before: Condition | None,
    missing: Sequence[str] = (),
    drifted: Sequence[str] = (),
    obstacles: Mapping[str, StageObstacle] | None = None,
    behind: Sequence[str] = (),
) -> Condition | None:
    """Return the condition of a Pipeline; there once it was faulty.

    A person's rejection is a decision, and no fault. `missing` components have no image: before
    the first Release they wait for one, afterwards nothing is followed any more. `drifted` says
    which workloads of stages somebody has changed by hand (`drift_of`); `obstacles` by stage, why
    workloads cannot be set; `behind` which clusters lack what serves (`behind_text`).
    """
    no = newest.status.rejection if newest is not None else None
    if newest is not None and no is not None and not no.by:
        return _condition("ReleaseRejected", rejection_of(newest))
    if missing and newest is not None:
        what = f"the tag of component {', '.join(missing)} has no image any more"
        why = f"{what}, so that no Release is made: create its ImageStream, or correct `from`"
        return _condition("ImageStreamTagNotFound", why)
    if fault := _of_stages(promotions, drifted, obstacles or {}, behind):
        return fault
    if before is None:
        return None
    return Condition(type=DEGRADED, status="False", reason=AS_EXPECTED)


def _of_stages(
    promotions: Iterable[Promotion],
    drifted: Sequence[str],
    obstacles: Mapping[str, StageObstacle],
    behind: Sequence[str],
) -> Condition | None:
    """Return what is wrong with stages; first what keeps them from being set."""
    if obstacles:
        what = "; ".join(f"stage {stage}: {one.message}" for stage, one in obstacles.items())
        return _condition(next(iter(obstacles.values())).reason, what)
    last: dict[str, Promotion] = {}
    ended = [one for one in promotions if one.status.ended is not None]
    for one in sorted(ended, key=lambda found: (str(found.status.ended), found.name)):
        last[one.spec.stage] = one
    failed = [one for one in last.values() if one.status.phase is PromotionPhase.FAILED]
    if failed:
        return _condition("PromotionFailed", "; ".join(map(failure_of, failed)))
    if behind:
        return _condition("ClusterBehind", "; ".join(behind))
    return _condition("WorkloadDrifted", "; ".join(drifted)) if drifted else None


def drift_of(stage: str, workloads: Iterable[Resource]) -> Iterator[str]:
    """Yield which workloads of a stage run what was not rolled out, in their own words."""
    for one in workloads:
        if not isinstance(one, WORKLOADS):
            continue
        found = find(one.status.conditions, DRIFTED)
        if found is not None and found.is_true:
            yield f"stage {stage}: {one.key}: {found.message}"


def behind_text(stage: str, behind: Sequence[ClusterProgress]) -> Iterator[str]:
    """Yield which clusters of a stage are away, or have failed, and why; some by their names."""
    drifted = ClusterPhase.DRIFTED
    told = [one for one in behind if one.phase.is_behind and one.phase is not drifted]
    for one in told[:_NAMED]:
        yield f"stage {stage}: cluster {one.name} is behind: {one.message}"
    if len(told) > _NAMED:
        yield f"stage {stage}: {len(told) - _NAMED} more clusters are behind"


def cluster_drift_of(stage: str, behind: Sequence[ClusterProgress]) -> Iterator[str]:
    """Yield which clusters of a stage have something else than was promoted, and what."""
    drifted = [one for one in behind if one.phase is ClusterPhase.DRIFTED]
    for one in drifted[:_NAMED]:
        yield f"stage {stage}: cluster {one.name}: {one.message}"
    if len(drifted) > _NAMED:
        yield f"stage {stage}: {len(drifted) - _NAMED} more clusters have drifted"


def pipeline_faults(pipeline: Pipeline) -> Iterator[HealthFault]:
    """Yield the faults of a Pipeline."""
    found = find(pipeline.status.conditions, DEGRADED)
    if found is not None and found.is_true:
        how = f"see `upwell pipeline status {pipeline.name}`"
        yield HealthFault.of(pipeline.key, FaultEvent.PIPELINE_DEGRADED, found, how)


def _condition(reason: str, message: str) -> Condition:
    return Condition(type=DEGRADED, status="True", reason=reason, message=message)
