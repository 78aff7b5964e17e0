"""Transitions of a promotion that has begun: from each outcome to its next state."""

from collections.abc import Iterable
from datetime import datetime, timedelta

from upwell.api.pipeline import ClusterProgress, Stage
from upwell.api.promotion import CheckResult, PromotionPhase, PromotionStatus, Purpose, Step
from upwell.policy.promotion.clusters.catching_up import left_text
from upwell.policy.promotion.verification.checks import cut_short
from upwell.policy.promotion.verification.soak import Soak

IMAGES, ROLL_OUT, VERIFY, ROLL_BACK = "Images", "RollOut", "Verify", "RollBack"
REVIEW = "Review"
"""Names of steps."""

_MAX_MESSAGE = 2000


def in_step(status: PromotionStatus, name: str, now: datetime) -> PromotionStatus:
    """Return the status with `name` as its open step; the one before it ends."""
    if status.steps and status.steps[-1].name == name:
        return status
    steps = (*_ended(status.steps, now), Step(name=name, started=now))
    return status.model_copy(update={"steps": steps})


def anchored(status: PromotionStatus, now: datetime) -> PromotionStatus:
    """Return the status with no time ahead that something is counted from: the clock went back.

    Otherwise a rollout or a soak could take as much longer as the clock was wrong.
    """
    changes: dict[str, object] = {}
    if status.serving_since is not None and status.serving_since > now:
        changes["serving_since"] = now
    if status.steps and status.steps[-1].ended is None and status.steps[-1].started > now:
        last = status.steps[-1].model_copy(update={"started": now})
        changes["steps"] = (*status.steps[:-1], last)
    return status.model_copy(update=changes) if changes else status


def has_left(status: PromotionStatus, name: str) -> bool:
    """Return True if a step is done."""
    return any(step.name == name and step.ended is not None for step in status.steps)


def going_on(
    status: PromotionStatus, message: str, until: datetime | None = None
) -> PromotionStatus:
    """Return the status with what it waits for now, until a time if that is known."""
    return status.model_copy(update={"message": message[:_MAX_MESSAGE], "until": until})


def committed(status: PromotionStatus, commit: str) -> PromotionStatus:
    """Return the status with the commit that counts, if there is one."""
    return status.model_copy(update={"commit": commit}) if commit else status


def spread(status: PromotionStatus, clusters: tuple[ClusterProgress, ...]) -> PromotionStatus:
    """Return the status with how each cluster of the stage stands, if it is on clusters."""
    return status.model_copy(update={"clusters": clusters}) if clusters else status


def noted(status: PromotionStatus, message: str, until: datetime | None = None) -> PromotionStatus:
    """Return the status with how its open step goes: the message says why it came to that."""
    last = status.steps[-1].model_copy(update={"message": message[:_MAX_MESSAGE]})
    return status.model_copy(update={"steps": (*status.steps[:-1], last), "until": until})


def serves(status: PromotionStatus, purpose: Purpose, now: datetime) -> PromotionStatus:
    """Every rollout is complete: what was promoted is verified, what was put back is not.

    Of a stage on clusters, all but those that others do not wait for.
    """
    status = status.model_copy(update={"serving_since": now, "message": ""})
    if purpose is Purpose.ROLL_BACK:
        return _final(status, PromotionPhase.SUCCEEDED, left_text(status.clusters), now)
    status = status.model_copy(update={"phase": PromotionPhase.VERIFYING})
    return in_step(status, VERIFY, now)


def checked(
    status: PromotionStatus, checks: tuple[CheckResult, ...], message: str
) -> PromotionStatus:
    """Return the status with the results so far."""
    return going_on(status.model_copy(update={"checks": checks}), message)


def soaked(status: PromotionStatus, soak: Soak) -> PromotionStatus:
    """Return the status with what the soak has come to."""
    if soak.progress == status.soaked_seconds:
        return status
    return status.model_copy(update={"soaked_seconds": soak.progress})


def passed(status: PromotionStatus, now: datetime, tested: Iterable[str] = ()) -> PromotionStatus:
    """Every check has passed and the soak is over, while instances ran the digests `tested`."""
    status = status.model_copy(update={"tested": tuple(sorted(tested))})
    flaky = [check.name for check in status.checks if check.flaky]
    doubt = f"passed, but not at the first attempt: {', '.join(flaky)}" if flaky else ""
    message = "; ".join(filter(None, (left_text(status.clusters), doubt)))
    return _final(status, PromotionPhase.SUCCEEDED, message, now)


def failed(
    status: PromotionStatus, purpose: Purpose, release: str, why: str, now: datetime
) -> PromotionStatus:
    """Return the state after a failure: the last good Release is put back, if there is one.

    What is only verified again stays, and so does what a person put back.
    """
    status = _without_running_checks(status, why, now)
    if purpose is not Purpose.PROMOTE:
        return _final(status, PromotionPhase.FAILED, why, now)
    if not status.last_good or status.last_good == release:
        why = f"{why}; no earlier Release was verified here to roll back to"
        return _final(status, PromotionPhase.FAILED, why, now)
    status = status.model_copy(update={"phase": PromotionPhase.ROLLING_BACK})
    return in_step(going_on(status, why), ROLL_BACK, now)


def put_back(status: PromotionStatus, now: datetime) -> PromotionStatus:
    """The last good Release serves again."""
    message = f"{status.message}; {status.last_good} was restored"
    return _final(status, PromotionPhase.FAILED, message, now)


def not_put_back(status: PromotionStatus, why: str, now: datetime) -> PromotionStatus:
    """The last good Release could not be put back."""
    message = f"{status.message}; rollback to {status.last_good} failed: {why}"
    return _final(status, PromotionPhase.FAILED, message, now)


def taken_over(status: PromotionStatus, why: str, now: datetime) -> PromotionStatus:
    """A person has put something else there: it stays, and says nothing about the Release."""
    status = _without_running_checks(status, why, now)
    return _final(status, PromotionPhase.SUPERSEDED, why, now)


def deadline(
    status: PromotionStatus, stage: Stage, well_since: datetime | None = None
) -> datetime | None:
    """Return when the open step has taken too long; None: it may take any time.

    No time before `well_since` counts: machine or runtime were at fault.
    """
    seconds = allowed_seconds(status, stage)
    if not status.steps or seconds is None:
        return None
    started = status.steps[-1].started
    return max(started, well_since or started) + timedelta(seconds=seconds)


def allowed_seconds(status: PromotionStatus, stage: Stage) -> int | None:
    """Return how long the open step may take: rollouts take machines' time, reviews people's."""
    if status.steps and status.steps[-1].name == REVIEW:
        return stage.git.review_seconds if stage.git is not None else None
    return stage.rollout_seconds


def _without_running_checks(status: PromotionStatus, why: str, now: datetime) -> PromotionStatus:
    """Return the status with a result for each check: their Jobs end with the promotion."""
    return status.model_copy(update={"checks": cut_short(status.checks, why, now)})


def _final(
    status: PromotionStatus, phase: PromotionPhase, message: str, now: datetime
) -> PromotionStatus:
    return status.model_copy(
        update={
            "phase": phase,
            "message": message[:_MAX_MESSAGE],
            "until": None,
            "ended": max(now, status.started or now),
            "steps": _ended(status.steps, now),
        }
    )


def _ended(steps: tuple[Step, ...], now: datetime) -> tuple[Step, ...]:
    if not steps or steps[-1].ended is not None:
        return steps
    return (*steps[:-1], steps[-1].model_copy(update={"ended": now}))
