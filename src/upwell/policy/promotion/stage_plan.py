"""The plan of one stage: which promotion counts, what it does now, and what is proposed."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from upwell.api.conditions import find, set_condition
from upwell.api.meta import Condition
from upwell.api.pipeline import ClusterPhase, ClusterProgress, StageStatus
from upwell.api.promotion import (
    APPROVED,
    Promotion,
    PromotionPhase,
    PromotionSpec,
    PromotionStatus,
    Purpose,
)
from upwell.policy.jobs.cron import CronError, around
from upwell.policy.promotion.clusters.targets import away_now, targets_of
from upwell.policy.promotion.gate import Allowed, Blocked, Gate, Refused, gate
from upwell.policy.promotion.releases import new_promotion
from upwell.policy.promotion.situation import StageSituation
from upwell.policy.promotion.stages import hold_end, last_good, upstream


@dataclass(frozen=True)
class StagePlan:
    """Changes to write about a stage."""

    status: StageStatus
    promotions: tuple[tuple[str, PromotionStatus], ...] = ()
    """New states of promotions that had not begun."""
    create: Promotion | None = None
    times: tuple[datetime, ...] = ()
    """Times at which time alone changes something."""
    moving: str = ""
    """The Release whose promotion has begun and not ended."""
    waits_for_turn: bool = False
    """A promotion would begin if other rollouts did not come first."""


def stage_plan(here: StageSituation) -> StagePlan:
    """Decide about every promotion of a stage that has not begun; propose the next."""
    active = [one for one in here.promotions if not one.status.phase.is_final]
    begun = next((one for one in active if one.status.phase is not PromotionPhase.WAITING), None)
    waiting = [one for one in active if one.status.phase is PromotionPhase.WAITING]
    chosen = _chosen(here, waiting)
    closed = tuple(_closed(here, one, chosen) for one in waiting if one is not chosen)
    status = _status(here)
    if begun is not None:
        return _behind(here, status, begun, chosen, closed)
    if chosen is not None:
        return _at_gate(here, status, chosen, closed)
    times = _times(here)
    proposed = _proposal(here)
    if proposed is not None:
        return StagePlan(status, closed, proposed, times)
    return StagePlan(_with(status, waits_for=_idle(here)), closed, times=times)


def _chosen(here: StageSituation, waiting: Sequence[Promotion]) -> Promotion | None:
    """Return the one waiting promotion that counts.

    What a person asked for goes before what Upwell proposed, a later request before an earlier one.
    """
    asked = [one for one in waiting if one.spec.requested_by]
    candidate = here.candidate
    proposed = [
        one
        for one in waiting
        if one.spec.purpose is Purpose.VERIFY
        or (candidate is not None and one.spec.release == candidate.name)
    ]
    return max(asked or proposed, key=_age, default=None)


def _closed(
    here: StageSituation, promotion: Promotion, chosen: Promotion | None
) -> tuple[str, PromotionStatus]:
    release = here.all.releases.get(promotion.spec.release)
    rejection = here.all.rejection(release) if release is not None else None
    if rejection is not None:
        why = f"{promotion.spec.release} is rejected: {rejection.reason}"
    elif chosen is not None:
        why = f"replaced by {chosen.name}"
    elif here.candidate is not None:
        why = f"replaced by {here.candidate.name}"
    else:
        why = f"{promotion.spec.release} may not enter {here.stage.name} any more"
    return promotion.name, _end(here, promotion, PromotionPhase.SUPERSEDED, why)


def _behind(
    here: StageSituation,
    status: StageStatus,
    begun: Promotion,
    chosen: Promotion | None,
    closed: tuple[tuple[str, PromotionStatus], ...],
) -> StagePlan:
    """Let what has begun end first, unless a person goes back."""
    if chosen is not None and chosen.spec.purpose is Purpose.ROLL_BACK:
        why = f"{chosen.spec.requested_by} rolls back: {chosen.spec.reason}"
        stopped = (begun.name, _end(here, begun, PromotionPhase.SUPERSEDED, why))
        status = _with(status, promotion=chosen.name, waits_for=f"{begun.name} to stop")
        return StagePlan(status, (*closed, stopped), times=_times(here))
    message = f"{begun.spec.release}: {begun.status.message or begun.status.phase}"
    status = _with(status, promotion=begun.name, waits_for=message, until=begun.status.until)
    if chosen is not None:
        closed = (*closed, _waiting(here, chosen, Blocked(f"{begun.name} to end")))
    return StagePlan(status, closed, times=_times(here), moving=begun.spec.release)


def _at_gate(
    here: StageSituation,
    status: StageStatus,
    chosen: Promotion,
    closed: tuple[tuple[str, PromotionStatus], ...],
) -> StagePlan:
    found: Gate = gate(here, chosen)
    times = _times(here)
    match found:
        case Blocked(waits_for, until):
            status = _with(status, promotion=chosen.name, waits_for=waits_for, until=until)
            if until is not None:
                times = (*times, until)
            waiting = (*closed, _waiting(here, chosen, found))
            return StagePlan(status, waiting, times=times, waits_for_turn=found.turn)
        case Refused(phase, message):
            ended = (chosen.name, _end(here, chosen, phase, message))
            # What comes next is decided when this is written.
            return StagePlan(status, (*closed, ended), times=times)
        case Allowed(message):
            status = _with(status, promotion=chosen.name)
            begun = (chosen.name, _begin(here, chosen, message))
            return StagePlan(status, (*closed, begun), times=times, moving=chosen.spec.release)


def _begin(here: StageSituation, promotion: Promotion, message: str) -> PromotionStatus:
    """Return the first state of a promotion that has begun: it remembers the stage as it was."""
    now = here.all.now
    verifies = promotion.spec.purpose is Purpose.VERIFY
    good = last_good(here.promotions, here.all.releases, besides=promotion.spec.release)
    return promotion.status.model_copy(
        update={
            "phase": PromotionPhase.VERIFYING if verifies else PromotionPhase.ROLLING_OUT,
            "message": message,
            "until": None,
            "conditions": _answered(promotion, message, now),
            "previous": here.serves.release,
            "last_good": good,
            "started": here.all.stamp,
            "serving_since": now if verifies else None,
        }
    )


def _waiting(
    here: StageSituation, promotion: Promotion, blocked: Blocked
) -> tuple[str, PromotionStatus]:
    since = promotion.status.waiting_since or here.all.now
    changes = {
        "phase": PromotionPhase.WAITING,  # said, so that whoever reads the object sees it
        "message": f"waits for {blocked.waits_for}",
        "until": blocked.until,
        "waiting_since": since,
        "conditions": _asked(promotion, blocked, here.all.now),
    }
    return promotion.name, promotion.status.model_copy(update=changes)


def _asked(promotion: Promotion, blocked: Blocked, now: datetime) -> tuple[Condition, ...]:
    """Return the conditions of a promotion that waits; people see one that they keep waiting."""
    conditions = promotion.status.conditions
    if not blocked.approval:
        return conditions
    return set_condition(
        conditions,
        Condition(type=APPROVED, status="False", reason="Waiting", message=blocked.waits_for),
        now,
    )


def _answered(promotion: Promotion, message: str, now: datetime) -> tuple[Condition, ...]:
    conditions = promotion.status.conditions
    if find(conditions, APPROVED) is None:
        return conditions
    given = Condition(type=APPROVED, status="True", reason="Given", message=message)
    return set_condition(conditions, given, now)


def _end(
    here: StageSituation, promotion: Promotion, phase: PromotionPhase, message: str
) -> PromotionStatus:
    changes = {"phase": phase, "message": message, "until": None, "ended": here.all.stamp}
    return promotion.status.model_copy(update=changes)


def _proposal(here: StageSituation) -> Promotion | None:
    """Return what Upwell proposes by itself: the candidate, or to verify again what serves."""
    pipeline, stage = here.all.pipeline, here.stage
    release = here.candidate
    spec = PromotionSpec(pipeline=pipeline.name, stage=stage.name)
    if release is None or stage.promotion == "Manual":
        release = here.all.releases.get(here.serves.release)
        if release is None or not _verification_due(here):
            return None
        changes = {"purpose": Purpose.VERIFY, "reason": "verified again on schedule"}
        spec = spec.model_copy(update=changes)
    spec = spec.model_copy(update={"release": release.name})
    return new_promotion(pipeline, release, spec, here.all.promotions)


def _verification_due(here: StageSituation) -> bool:
    ended = [one.status.ended for one in here.promotions if one.status.ended is not None]
    due, _ = _schedule(here)
    return due is not None and bool(ended) and due > max(ended)


def _schedule(here: StageSituation) -> tuple[datetime | None, datetime | None]:
    """Return when the stage was last due to be verified again, and when it is next."""
    verification = here.stage.verification
    if verification.schedule is None:
        return None, None
    try:
        return around(verification.schedule, verification.time_zone, here.all.now)
    except CronError:
        return None, None  # refused when the Pipeline is applied


def _times(here: StageSituation) -> tuple[datetime, ...]:
    wanted = (_schedule(here)[1], hold_end(here.all.pipeline, here.stage))
    return tuple(time for time in wanted if time is not None)


def _idle(here: StageSituation) -> str:
    """Say why nothing is under way; empty when the newest Release is here and verified."""
    if here.candidate is not None:
        name = here.candidate.name
        return f"a person: `upwell promote {name} --stage {here.stage.name}`"
    newest = max(here.all.releases.values(), key=lambda one: one.spec.number, default=None)
    if newest is None:
        return "a Release"
    rejection = here.all.rejection(newest)
    if rejection is not None:
        where = f" in {rejection.stage}" if rejection.stage else ""
        return f"a new Release: {newest.name} was rejected{where}: {rejection.reason}"
    if newest.name == here.serves.release:
        verified = here.stage.name in {one.name for one in newest.status.verified}
        return "" if verified else f"{newest.name} to be verified again: `upwell verify`"
    return f"{newest.name} to be verified in {', '.join(upstream(here.all.pipeline, here.stage))}"


def _status(here: StageSituation) -> StageStatus:
    serves = here.serves
    release = here.all.releases.get(serves.release)
    verified = None
    if release is not None:
        known = here.stage.name in {one.name for one in release.status.verified}
        verified = True if known else _tested(here, release.name)
    return StageStatus(
        name=here.stage.name,
        release=serves.release,
        since=serves.since,
        verified=verified,
        last_good=last_good(here.promotions, here.all.releases, besides=""),
        candidate=here.candidate.name if here.candidate is not None else "",
        hold=here.hold or None,
        behind=_clusters_behind(here),
    )


def _clusters_behind(here: StageSituation) -> tuple[ClusterProgress, ...]:
    """Return the clusters that do not run what the others do, as the last promotion has left it.

    Once that has ended, its record keeps what was proven, and what is away now is told besides.
    """
    newest = next((one for one in here.promotions if one.name == here.serves.promotion), None)
    if newest is None:
        return ()
    records = newest.status.clusters
    if not newest.status.phase.is_final:
        return tuple(one for one in records if one.phase.is_behind)
    targets = targets_of(here.all.pipeline, here.stage, here.all.clusters)
    away = away_now(targets, records)
    present = (away.get(one.name, one) for one in records)
    return tuple(one for one in present if one.phase is not ClusterPhase.COMPLETE)


def _tested(here: StageSituation, release: str) -> bool | None:
    """Return False when a verification of what serves has failed; None when none has ended."""
    failed = any(
        one.spec.release == release and one.status.phase is PromotionPhase.FAILED
        for one in here.promotions
    )
    return False if failed else None


def _with(status: StageStatus, **changes: object) -> StageStatus:
    return status.model_copy(update=changes)


def _age(promotion: Promotion) -> tuple[datetime | None, str]:
    return promotion.metadata.creation_timestamp, promotion.name
