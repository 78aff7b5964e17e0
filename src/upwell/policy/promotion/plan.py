"""The plan of a Pipeline: which promotions begin, wait or are closed, and where all stands; pure.

All beginnings of a Pipeline are decided here, from one reading of its state: so two promotions of
a stage never begin at once.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from upwell.api.pipeline import StageStatus
from upwell.api.promotion import (
    Promotion,
    PromotionPhase,
    PromotionStatus,
    Purpose,
    Release,
    ReleasePhase,
    ReleaseStage,
    ReleaseStatus,
)
from upwell.policy.promotion.releases import found_rejection
from upwell.policy.promotion.situation import Situation
from upwell.policy.promotion.stage_plan import StagePlan, stage_plan
from upwell.policy.promotion.stages import last_stages


@dataclass(frozen=True, slots=True)
class PipelinePlan:
    """Objects to write, in this order; what equals the present state is left out."""

    releases: Mapping[str, ReleaseStatus]
    promotions: Mapping[str, PromotionStatus]
    create: Sequence[Promotion]
    stages: tuple[StageStatus, ...]
    surplus: Sequence[str]
    """Releases beyond the history's limit, which nothing refers to any more."""
    again: datetime | None = None
    """Time at which the plan changes by time alone."""
    waits_for_turn: frozenset[str] = frozenset()
    """Names of the stages in which a promotion would begin if no other rollouts came first."""


def plan(situation: Situation) -> PipelinePlan:
    """Decide what becomes of every Release, and of every Promotion that has not begun."""
    present = {name: one.status for name, one in situation.releases.items()}
    situation = situation.with_releases(_judged(situation))
    stages = [stage_plan(situation.at(stage)) for stage in situation.pipeline.spec.stages]
    releases = {
        name: _release_status(situation, release, stages)
        for name, release in situation.releases.items()
    }
    before = {one.name: one.status for one in situation.promotions}
    promotions = dict(pair for stage in stages for pair in stage.promotions)
    times = [time for stage in stages for time in stage.times if time > situation.now]
    return PipelinePlan(
        releases={name: new for name, new in releases.items() if new != present[name]},
        promotions={name: new for name, new in promotions.items() if new != before[name]},
        create=[stage.create for stage in stages if stage.create is not None],
        stages=tuple(stage.status for stage in stages),
        surplus=tuple(_surplus(situation, stages)),
        again=min(times, default=None),
        waits_for_turn=frozenset(one.status.name for one in stages if one.waits_for_turn),
    )


def _judged(situation: Situation) -> Iterator[Release]:
    """Yield the Releases with their rejections, and where each is verified, as of now."""
    for release in situation.releases.values():
        mine = [one for one in situation.promotions if one.spec.release == release.name]
        rejection = release.status.rejection or found_rejection(release, mine)
        verified = _verified(release, mine)
        if (rejection, verified) == (release.status.rejection, release.status.verified):
            yield release
            continue
        changes = {"rejection": rejection, "verified": verified}
        yield release.with_status(release.status.model_copy(update=changes))


def _verified(release: Release, promotions: Sequence[Promotion]) -> tuple[ReleaseStage, ...]:
    """Return the stages whose newest verification of `release` was a good one.

    What the status says already is kept for promotions that are gone.
    """
    verified = {one.name: one for one in release.status.verified}
    tested = [
        (one.status.ended, one.name, one)
        for one in promotions
        if one.status.ended is not None and one.spec.purpose is not Purpose.ROLL_BACK
    ]
    for ended, name, one in sorted(tested, key=lambda entry: entry[:2]):
        if one.status.phase is PromotionPhase.SUCCEEDED:
            here = ReleaseStage(name=one.spec.stage, at=ended, promotion=name)
            verified.setdefault(one.spec.stage, here)
        elif one.status.phase is PromotionPhase.FAILED:
            verified.pop(one.spec.stage, None)
    return tuple(verified.values())


def _release_status(
    situation: Situation, release: Release, stages: Sequence[StagePlan]
) -> ReleaseStatus:
    phase, message = _phase(situation, release, stages)
    if (phase, message) == (release.status.phase, release.status.message):
        return release.status
    return release.status.model_copy(update={"phase": phase, "message": message})


def _phase(
    situation: Situation, release: Release, stages: Sequence[StagePlan]
) -> tuple[ReleasePhase, str]:
    """Say what has become of a Release: one of the words, and what it waits for."""
    rejection = situation.rejection(release)
    if rejection is not None:
        return ReleasePhase.REJECTED, rejection.reason
    moving = [stage for stage in stages if stage.moving == release.name]
    if moving:
        return ReleasePhase.MOVING, f"on its way into {_names(moving)}"
    verified = {one.name for one in release.status.verified}
    if verified.issuperset(last_stages(situation.pipeline)):
        return ReleasePhase.PROMOTED, ""
    waits = [stage for stage in stages if _waits(situation, stage, release)]
    if waits:
        texts = [f"{one.status.name}: {one.status.waits_for or 'about to begin'}" for one in waits]
        return ReleasePhase.WAITING, "; ".join(texts)
    newer = [one for one in situation.releases.values() if one.spec.number > release.spec.number]
    able = [one for one in newer if situation.rejection(one) is None]
    if able:
        return ReleasePhase.SUPERSEDED, f"replaced by {max(able, key=_number).name}"
    return ReleasePhase.WAITING, "; ".join(
        f"{one.status.name}: {one.status.waits_for}" for one in stages if one.status.waits_for
    )


def _waits(situation: Situation, stage: StagePlan, release: Release) -> bool:
    """Return True if `release` stands before a stage: as its candidate, or as a person asked."""
    if stage.status.candidate == release.name:
        return True
    name = stage.status.promotion
    return any(
        one.name == name and one.spec.release == release.name for one in situation.promotions
    )


def _surplus(situation: Situation, stages: Sequence[StagePlan]) -> Iterator[str]:
    """Yield the oldest Releases beyond the limit that no stage has or goes back to."""
    needed = {
        name
        for stage in stages
        for name in (stage.status.release, stage.status.last_good, stage.status.candidate)
    }
    for one in situation.promotions:
        if one.status.phase.is_final:
            continue
        needed |= {one.spec.release, one.status.previous, one.status.last_good}
    others = [one for name, one in situation.releases.items() if name not in needed]
    newest_first = sorted(others, key=_number, reverse=True)
    yield from (one.name for one in newest_first[situation.pipeline.spec.history_limit :])


def _names(stages: Sequence[StagePlan]) -> str:
    return ", ".join(stage.status.name for stage in stages)


def _number(release: Release) -> int:
    return release.spec.number
