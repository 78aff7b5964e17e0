"""Requests of people and their CI about a Pipeline: refusals, and the Promotions they come to.

Asking twice comes to one Promotion: a CI job that is retried does no harm.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from upwell.api.pipeline import Pipeline, Stage
from upwell.api.promotion import Promotion, PromotionPhase, PromotionSpec, Purpose, Release, Vote
from upwell.policy.builds.triggers import digest_of
from upwell.policy.promotion.approval import Agreement, approval_of, as_approver, counts, with_vote
from upwell.policy.promotion.clusters.catching_up import drift_text
from upwell.policy.promotion.four_eyes import Involved, eyes_of
from upwell.policy.promotion.releases import new_promotion, rejection_of
from upwell.policy.promotion.stages import has_hold, hold_of, may_enter, serving, upstream

RUN_ANNOTATION = "upwell.dev/run"
"""On a Promotion: the run of a CI that asked for it; the same run gets the same answer."""


class RefusedError(Exception):
    """Refusal of a request; the message names the object and the next step."""


class NotAnApproverError(RefusedError):
    """The stage names its approvers, and this is none of them."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Request of a person or a program."""

    stage: str
    by: str
    release: str = ""
    reason: str = ""
    bypass: str = ""
    """An emergency's reason."""
    past_image_policies: bool = False
    """The emergency goes past image policies too, with exactly the images of its Release."""
    run: str = ""


@dataclass(frozen=True, slots=True)
class Known:
    """A Pipeline, and all that belongs to it."""

    pipeline: Pipeline
    releases: Mapping[str, Release]
    promotions: Sequence[Promotion]
    now: datetime
    quarantined: Mapping[str, str] = field(default_factory=dict)
    """Digests of base images -> why."""

    def of_stage(self, stage: Stage) -> list[Promotion]:
        """Return the Promotions into a stage."""
        return [one for one in self.promotions if one.spec.stage == stage.name]

    def release(self, name: str) -> Release:
        """Return a Release; raises RefusedError."""
        found = self.releases.get(name)
        if found is None:
            raise RefusedError(
                f"pipeline/{self.pipeline.name} has no release {name!r};"
                f" `upwell release list {self.pipeline.name}` lists them"
            )
        return found


@dataclass(frozen=True, slots=True)
class RequestOutcome:
    """The Promotion that a request comes to, and what is done before it is made."""

    promotion: Promotion
    exists: bool = False
    """It was there already: nothing is done."""
    hold: str = ""
    """Reason of the hold that the stage gets first, so that automation does not go over it."""


def stage_named(pipeline: Pipeline, name: str) -> Stage:
    """Return a stage; raises RefusedError."""
    found = pipeline.stage(name)
    if found is None:
        known = ", ".join(stage.name for stage in pipeline.spec.stages) or "none"
        raise RefusedError(f"pipeline/{pipeline.name} has no stage {name!r}; its stages: {known}")
    return found


def promote(known: Known, asked: Asked) -> RequestOutcome:
    """Bring a Release into a stage; raises RefusedError."""
    stage = stage_named(known.pipeline, asked.stage)
    release = known.release(asked.release)
    into = known.of_stage(stage)
    if (earlier := _of_run(into, asked, Purpose.PROMOTE)) is not None:
        return RequestOutcome(earlier, exists=True)
    require_promotable(known, release)
    going = [one for one in into if not one.status.phase.is_final]
    for one in going:
        if _is(one, Purpose.PROMOTE, release.name) and not _is_overtaken(one, asked):
            return RequestOutcome(one, exists=True)
    live = None if going else _live(into, release.name)
    if live is not None and not (drift := drift_text(into)):
        return RequestOutcome(live, exists=True)
    if live is not None and stage.git is not None:
        raise RefusedError(f"{release.name} serves in stage {stage.name}, but {drift}")
    _require_free(known, stage)
    if not asked.bypass:
        _require_verified(known.pipeline, stage, release)
    why = f": {asked.reason or asked.bypass}" if asked.reason or asked.bypass else ""
    older = _is_older(known, stage, release)
    hold = f"{release.name} was promoted by hand by {asked.by}{why}" if older else ""
    return RequestOutcome(_made(known, asked, release, Purpose.PROMOTE, hold), hold=hold)


def roll_back(known: Known, asked: Asked) -> RequestOutcome:
    """Put an earlier Release back into a stage, and hold the stage; raises RefusedError."""
    stage = stage_named(known.pipeline, asked.stage)
    into = known.of_stage(stage)
    if (earlier := _of_run(into, asked, Purpose.ROLL_BACK)) is not None:
        return RequestOutcome(earlier, exists=True)
    going = [one for one in into if not one.status.phase.is_final]
    same = next((one for one in going if _is(one, Purpose.ROLL_BACK, asked.release)), None)
    if same is not None:
        return RequestOutcome(same, exists=True)
    newest = _newest(into)
    repeated = newest is not None and _is(newest, Purpose.ROLL_BACK, asked.release)
    if repeated and newest is not None and hold_of(known.pipeline, stage, (), known.now):
        return RequestOutcome(newest, exists=True)  # asked again: going back further needs a name
    target = asked.release or _before(known, into)
    if not target:
        raise RefusedError(
            f"no other release served in stage {stage.name} of pipeline/{known.pipeline.name}:"
            " name one that is verified there with --to"
        )
    release = known.release(target)
    require_promotable(known, release)
    _require_served(into, stage, release)
    hold = f"rolled back to {release.name} by {asked.by}: {asked.reason}"
    return RequestOutcome(_made(known, asked, release, Purpose.ROLL_BACK, hold), hold=hold)


def verify_again(known: Known, asked: Asked) -> RequestOutcome:
    """Verify what serves in a stage once more; raises RefusedError."""
    stage = stage_named(known.pipeline, asked.stage)
    into = known.of_stage(stage)
    if (earlier := _of_run(into, asked, Purpose.VERIFY)) is not None:
        return RequestOutcome(earlier, exists=True)
    going = next((one for one in into if not one.status.phase.is_final), None)
    if going is not None and going.spec.purpose is Purpose.VERIFY:
        return RequestOutcome(going, exists=True)
    if going is not None:
        raise RefusedError(
            f"promotion/{going.name} is {going.status.phase} in stage {stage.name}:"
            " it is verified with that, or afterwards"
        )
    live = serving(into).release
    if not live:
        raise RefusedError(
            f"no release serves in stage {stage.name} of pipeline/{known.pipeline.name} yet"
        )
    if not stage.verification.checks:
        raise RefusedError(f"stage {stage.name} has no checks: set its `verification.checks`")
    return RequestOutcome(_made(known, asked, known.release(live), Purpose.VERIFY))


def voted(
    promotion: Promotion,
    pipeline: Pipeline,
    stage: Stage,
    vote: Vote,
    involved: Involved | None,
) -> Promotion:
    """Return a Promotion with somebody's vote; the same once more changes nothing.

    `involved` are those whose approval alone is not enough; None: nobody asks whose it is.
    Raises RefusedError, or NotAnApproverError for one whose vote does not count.
    """
    vote = _attributed(vote, pipeline, stage, involved)
    votes = with_vote(promotion.status.votes, vote)
    if votes is promotion.status.votes:
        return promotion
    require_waiting(promotion)
    if not counts(stage.approval, vote):
        people = ", ".join(stage.approval.approvers) if stage.approval is not None else ""
        raise NotAnApproverError(
            f"{vote.by} is not an approver of stage {stage.name}; its approvers: {people}"
        )
    if vote.approved and stage.approval is None:
        raise RefusedError(f"stage {stage.name} needs no approval of promotion/{promotion.name}")
    result = promotion.with_status(promotion.status.model_copy(update={"votes": votes}))
    if vote.approved and involved is not None:
        _require_other_eyes(result, pipeline, stage, vote, involved)
    return result


def require_waiting(promotion: Promotion) -> None:
    """Raise RefusedError, with how it stands, for a Promotion on which votes change nothing."""
    phase = promotion.status.phase
    if phase is not PromotionPhase.WAITING:
        state = f"has ended as {phase}" if phase.is_final else f"has begun and is {phase}"
        raise RefusedError(
            f"promotion/{promotion.name} {state}: it does not wait for approval any more"
        )


def _attributed(vote: Vote, pipeline: Pipeline, stage: Stage, involved: Involved | None) -> Vote:
    """Return a vote with what it is worth: its groups, what it goes past, what it has seen."""
    has_part = involved is not None and involved.has_part(vote)
    changes = {
        "override": vote.override if has_part else "",
        "pipeline": pipeline.uid,
        "generation": 0 if has_part or not vote.approved else pipeline.generation,
    }
    return as_approver(stage.approval, vote).model_copy(update=changes)


def _require_other_eyes(
    promotion: Promotion, pipeline: Pipeline, stage: Stage, vote: Vote, involved: Involved
) -> None:
    """Raise NotAnApproverError for a vote that is worth nothing whoever else votes."""
    eyes = eyes_of(vote)
    required = stage.approval.required if stage.approval is not None else 0
    if required != 1 or vote.override or not involved.party(eyes):
        return
    found = approval_of(pipeline, stage, promotion, vote.at, involved)
    if found.agreement is Agreement.AGREED:
        return
    part = involved.part_of(eyes)
    if vote.link_by:
        part = f"{eyes}, who made this link, {part.removeprefix(eyes).strip(' ,')}"
    raise NotAnApproverError(
        f"{part}, so that somebody else has to approve"
        f" promotion/{promotion.name} (four eyes);"
        f" `upwell approve {promotion.name} --override REASON` goes past that, is recorded, and"
        " needs role overrider"
    )


def require_promotable(known: Known, release: Release) -> None:
    """Raise RefusedError for a Release that must go nowhere, an emergency or not."""
    rejection = rejection_of(release, known.releases.values())
    if rejection is not None:
        where = f" in stage {rejection.stage}" if rejection.stage else ""
        by = f" by {rejection.by}" if rejection.by else ""
        raise RefusedError(
            f"release/{release.name} was rejected{where}{by}: {rejection.reason};"
            f" `upwell release restore {release.name} --reason …` lifts the rejection"
        )
    for component in release.spec.components:
        for base in component.bases:
            if (why := known.quarantined.get(base.digest)) is not None:
                raise RefusedError(
                    f"release/{release.name}: the base image {base.image} of {component.name}"
                    f" is in quarantine: {why}; `upwell quarantine lift` lifts it"
                )


def _require_free(known: Known, stage: Stage) -> None:
    held = hold_of(known.pipeline, stage, (), known.now)
    if not held:
        return
    option = f" --stage {stage.name}" if has_hold(known.pipeline, stage) else ""
    raise RefusedError(
        f"stage {stage.name} of pipeline/{known.pipeline.name} is held: {held};"
        f" `upwell resume pipeline/{known.pipeline.name}{option}` lifts the hold"
    )


def _require_verified(pipeline: Pipeline, stage: Stage, release: Release) -> None:
    if may_enter(pipeline, stage, release):
        return
    verified = {one.name for one in release.status.verified}
    missing = [name for name in upstream(pipeline, stage) if name not in verified]
    joined = (" or " if stage.requires == "Any" else " and ").join(missing)
    raise RefusedError(
        f"release/{release.name} is not verified in {joined}, which {stage.name} comes after:"
        f" promote it to {missing[0]} first; `--bypass REASON` is for emergencies"
    )


def _require_served(into: Sequence[Promotion], stage: Stage, release: Release) -> None:
    names = {one.spec.release for one in into if one.status.phase is PromotionPhase.SUCCEEDED}
    if release.name not in names:
        known = ", ".join(sorted(names)) or "none"
        raise RefusedError(
            f"release/{release.name} was never verified in stage {stage.name}, so it cannot be"
            f" restored there (use `upwell promote`); verified there: {known}"
        )


def _of_run(into: Sequence[Promotion], asked: Asked, purpose: Purpose) -> Promotion | None:
    """Return what the same run has asked for before."""
    if not asked.run:
        return None
    return next(
        (
            one
            for one in into
            if one.annotations.get(RUN_ANNOTATION) == asked.run
            and _is(one, purpose, asked.release if purpose is Purpose.PROMOTE else "")
        ),
        None,
    )


def _is(promotion: Promotion, purpose: Purpose, release: str) -> bool:
    """Return True if it has this purpose, and this Release where one is named."""
    return promotion.spec.purpose is purpose and release in {"", promotion.spec.release}


def _is_overtaken(waiting: Promotion, asked: Asked) -> bool:
    """Return True if an emergency goes before a Promotion that waits in the ordinary way."""
    if waiting.status.phase is not PromotionPhase.WAITING or not asked.bypass:
        return False
    further = asked.past_image_policies and not waiting.spec.past_image_policies
    return further or not waiting.spec.bypass


def _live(into: Sequence[Promotion], release: str) -> Promotion | None:
    """Return the Promotion by which `release` came to serve, if it does."""
    if serving(into).release != release:
        return None
    return next((one for one in _by_start(into) if one.spec.release == release), None)


def _is_older(known: Known, stage: Stage, release: Release) -> bool:
    """Return True if automation has brought, or would bring, something newer than `release`."""
    live = serving(known.of_stage(stage)).release
    newer = (one for one in known.releases.values() if one.spec.number > release.spec.number)
    return any(
        one.name == live or (one.status.rejection is None and may_enter(known.pipeline, stage, one))
        for one in newer
    )


def _before(known: Known, into: Sequence[Promotion]) -> str:
    """Return the Release that served before the one that serves, or comes, now."""
    newest = _newest(into)
    if newest is None:
        return ""
    current = newest.spec.release
    if newest.status.phase is PromotionPhase.FAILED:
        current = serving(into).release
    back = (
        one.spec.release
        for one in _by_start(into)
        if one.status.phase is PromotionPhase.SUCCEEDED
        and one.spec.release != current
        and (release := known.releases.get(one.spec.release)) is not None
        and rejection_of(release, known.releases.values()) is None
    )
    return next(back, "")


def _newest(into: Sequence[Promotion]) -> Promotion | None:
    return next(iter(_by_start(into)), None)


def _by_start(into: Sequence[Promotion]) -> list[Promotion]:
    """Return the Promotions that changed what serves, the newest first."""
    began = [
        (one.status.started, one.name, one)
        for one in into
        if one.status.started is not None and one.spec.purpose is not Purpose.VERIFY
    ]
    return [one for _, _, one in sorted(began, key=lambda entry: entry[:2], reverse=True)]


def _digests(release: Release) -> tuple[str, ...]:
    return tuple(dict.fromkeys(digest_of(one.image) for one in release.spec.components))


def _made(
    known: Known, asked: Asked, release: Release, purpose: Purpose, hold: str = ""
) -> Promotion:
    spec = PromotionSpec(
        pipeline=known.pipeline.name,
        release=release.name,
        stage=asked.stage,
        purpose=purpose,
        requested_by=asked.by,
        reason=asked.reason,
        bypass=asked.bypass,
        past_image_policies=_digests(release) if asked.past_image_policies else (),
        hold=hold,
    )
    made = new_promotion(known.pipeline, release, spec, known.promotions)
    if not asked.run:
        return made
    return made.with_metadata(annotations={**made.annotations, RUN_ANNOTATION: asked.run})
