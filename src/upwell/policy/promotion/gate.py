"""The gate of a stage: whether a promotion may begin now, and what it waits for."""

from dataclasses import dataclass
from datetime import datetime

from upwell.api.promotion import Promotion, PromotionPhase, Purpose, Release
from upwell.policy.builds.triggers import digest_of
from upwell.policy.promotion.approval import Agreement
from upwell.policy.promotion.situation import StageSituation
from upwell.policy.promotion.stages import hold_end, lifted, stage_hold, upstream
from upwell.policy.promotion.windows import bar


@dataclass(frozen=True, slots=True)
class Allowed:
    """It may begin; the message says on whose word, if it is on somebody's."""

    message: str = ""


@dataclass(frozen=True, slots=True)
class Blocked:
    """It waits for something, until a time if that is known."""

    waits_for: str
    until: datetime | None = None
    approval: bool = False
    """It is somebody's approval that is missing."""
    turn: bool = False
    """Other rollouts come first, and nothing else is missing."""


@dataclass(frozen=True, slots=True)
class Refused:
    """It never begins."""

    phase: PromotionPhase
    message: str


type Gate = Allowed | Blocked | Refused


def gate(here: StageSituation, promotion: Promotion) -> Gate:
    """Say whether a promotion that has not begun may begin.

    Workloads of another Pipeline, a right that the Pipeline's author has lost, a rejected Release,
    a quarantined base, an image policy and a hold stop everybody; a policy lets those images pass
    that an emergency names. Order, approval and the clock stop all but a named emergency. Going
    back and verifying again is allowed to all who have the right.
    """
    release = here.all.releases.get(promotion.spec.release)
    if release is None:
        return Refused(PromotionPhase.REJECTED, "its Release does not exist")
    if here.claim or here.all.denied or promotion.spec.purpose is not Purpose.PROMOTE:
        return _without_votes(here, promotion)
    barred = (
        _rejected(here, promotion, release)
        or _quarantined(here, release)
        or _untrusted(here, promotion, release)
        or _held(here, promotion)
    )
    if barred is not None:
        return barred
    if promotion.spec.bypass:
        return Allowed(f"emergency: {promotion.spec.bypass}")
    barred = (
        _out_of_order(here, release)
        or _not_approved(here, promotion)
        or _by_the_clock(here)
        or _by_turn(here, promotion)
    )
    if barred is not None:
        return barred
    return Allowed(here.approval(promotion).message)


def _without_votes(here: StageSituation, promotion: Promotion) -> Gate:
    """Say what no vote, order or window decides."""
    if here.claim:
        return Blocked(f"its workloads: {here.claim}")
    if here.all.denied:
        return Blocked(f"a right: {here.all.denied}")
    return Allowed(promotion.spec.reason)


def _rejected(here: StageSituation, promotion: Promotion, release: Release) -> Gate | None:
    rejection = here.all.rejection(release)
    if rejection is not None:
        message = f"{release.name} is rejected: {rejection.reason}"
        return Refused(PromotionPhase.SUPERSEDED, message)
    votes = here.approval(promotion)
    if votes.agreement is Agreement.REFUSED:
        return Refused(PromotionPhase.REJECTED, votes.message)
    return None


def _quarantined(here: StageSituation, release: Release) -> Gate | None:
    found = here.all.quarantine(release)
    if found is None:
        return _of_unknown_bases(here, release)
    return Blocked(
        f"the end of Quarantine {found.name} of {found.spec.image or found.spec.digest}"
        f" ({found.spec.reason}); `upwell quarantine lift {found.name}` ends it"
    )


def _of_unknown_bases(here: StageSituation, release: Release) -> Gate | None:
    """Say that nobody knows whether a quarantine is about a Release: that is no clean one."""
    names = sorted(one.name for one in here.all.quarantines.values())
    component = here.all.unknown(release) if names else ""
    if not component:
        return None
    return Blocked(
        f"the base images of component {component} to be known: {release.name} was written by hand,"
        f" and no build is known that made its image, which may stand on what Quarantine"
        f" {', '.join(names)} is about; build it again, or `upwell quarantine lift NAME` ends one"
    )


def _untrusted(here: StageSituation, promotion: Promotion, release: Release) -> Gate | None:
    past = set(promotion.spec.past_image_policies)
    if past.issuperset(digest_of(one.image) for one in release.spec.components):
        return None
    why = here.all.untrusted.get((here.stage.name, release.name))
    return Blocked(f"signatures: {why}") if why else None


def _held(here: StageSituation, promotion: Promotion) -> Gate | None:
    own = promotion.spec.hold
    if not here.hold or (own and own == stage_hold(here.all.pipeline, here.stage)):
        return None
    until = hold_end(here.all.pipeline, here.stage)
    hold = lifted(here.all.pipeline, here.stage, here.hold, "`upwell resume` lifts it")
    return Blocked(f"a hold to be lifted: {hold}", until)


def _out_of_order(here: StageSituation, release: Release) -> Gate | None:
    if here.may_enter(release):
        return None
    names = upstream(here.all.pipeline, here.stage)
    where = names[0] if len(names) == 1 else f"{here.stage.requires.lower()} of {', '.join(names)}"
    return Blocked(f"{release.name} to be verified in {where}")


def _not_approved(here: StageSituation, promotion: Promotion) -> Gate | None:
    votes = here.approval(promotion)
    if votes.agreement is Agreement.AGREED:
        return None
    command = f"`upwell approve {promotion.name}`"
    return Blocked(f"{votes.message}; {command} gives one", votes.until, approval=True)


def _by_turn(here: StageSituation, promotion: Promotion) -> Gate | None:
    """Say that other rollouts come first; who asks for one waits for no turn."""
    turn = here.all.turns.get(here.stage.name, "")
    return Blocked(turn, turn=True) if turn and not promotion.spec.requested_by else None


def _by_the_clock(here: StageSituation) -> Gate | None:
    found = bar(here.all.pipeline, here.stage, here.all.freezes, here.all.now)
    return None if found is None else Blocked(found.message, found.until)
