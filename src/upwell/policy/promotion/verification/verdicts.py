"""Verdicts from outside: which check one is for, and whether it may still be given; pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from upwell.api.pipeline import Stage
from upwell.api.promotion import CheckPhase, CheckResult, Evidence, Promotion, PromotionPhase
from upwell.policy.promotion.requests import RefusedError
from upwell.policy.promotion.verification import checks

VERDICT_CHECK = "verdict"
"""The check that a verdict adds in a stage that asks for none from outside."""


@dataclass(frozen=True, slots=True)
class ReportedVerdict:
    """Verdict on a check that is reported from outside."""

    passed: bool
    by: str
    at: datetime
    message: str = ""
    evidence: tuple[Evidence, ...] = ()
    run: str = ""
    """The CI's own name of its run."""
    attempt: int | None = None
    """The attempt of the check that it is about; None: the one that goes on."""

    @property
    def phase(self) -> CheckPhase:
        """Phase that it gives the attempt."""
        return CheckPhase.PASSED if self.passed else CheckPhase.FAILED


def judged(promotions: Sequence[Promotion], release: str, stage: str) -> Promotion:
    """Return the Promotion that a verdict on a Release in a stage is about: the newest.

    Raises RefusedError.
    """
    found = [one for one in promotions if (one.spec.release, one.spec.stage) == (release, stage)]
    if not found:
        raise RefusedError(
            f"release/{release} was never promoted to {stage}:"
            f" `upwell promote {release} --stage {stage}` promotes it"
        )
    going = [one for one in found if not one.status.phase.is_final]
    return max(going or found, key=lambda one: (one.metadata.creation_timestamp, len(one.name)))


def check_for(stage: Stage, named: str) -> str:
    """Return the name of the check that a verdict is for; raises RefusedError."""
    awaited = [check.name for check in stage.verification.checks if check.webhook is not None]
    if not awaited and named in {"", VERDICT_CHECK}:
        return VERDICT_CHECK
    if not named and len(awaited) == 1:
        return awaited[0]
    if named in awaited:
        return named
    known = ", ".join(awaited) or VERDICT_CHECK
    what = f"no check {named!r} that waits for a verdict" if named else "several checks"
    raise RefusedError(f"stage {stage.name} has {what}: name one with --check: {known}")


def result_of(promotion: Promotion, check: str) -> CheckResult:
    """Return how a check stands; one that has not begun is pending."""
    found = (one for one in promotion.status.checks if one.name == check)
    return next(found, CheckResult(name=check))


def is_given(result: CheckResult, verdict: ReportedVerdict) -> bool:
    """Return True if this very verdict was given before, be it by a run that is tried again.

    A run's word is its first.
    """
    if verdict.run and verdict.run == result.run:
        return True
    return result.phase is verdict.phase and result.by == verdict.by


def with_verdict(promotion: Promotion, check: str, verdict: ReportedVerdict) -> Promotion:
    """Return the Promotion with a verdict; the same once more changes nothing.

    Raises RefusedError when it comes too early or too late.
    """
    result = result_of(promotion, check)
    if is_given(result, verdict):
        return promotion
    if verdict.attempt not in {None, result.attempt}:
        raise RefusedError(
            f"attempt {verdict.attempt} of check {check} is over:"
            f" attempt {result.attempt} has a token of its own"
        )
    phase = promotion.status.phase
    if phase.is_final:
        raise RefusedError(
            f"promotion/{promotion.name} has ended as {phase}: it takes no verdict any more;"
            f" `upwell verify pipeline/{promotion.spec.pipeline} --stage {promotion.spec.stage}"
            " --again` verifies the serving release again"
        )
    if phase is not PromotionPhase.VERIFYING:
        raise RefusedError(
            f"promotion/{promotion.name} is {phase}, so there is nothing to verify yet:"
            f" `upwell wait promotion/{promotion.name} --for=phase=Verifying` first"
        )
    if result.phase.is_final:
        by = f" by {result.by}" if result.by else ""
        raise RefusedError(f"check {check} of promotion/{promotion.name} is {result.phase}{by}")
    ended = checks.CheckVerdict(verdict.phase, verdict.message, verdict.evidence)
    answered = checks.judged(result, ended, verdict.at).model_copy(
        update={
            "started": result.started or verdict.at,
            "by": verdict.by,
            "run": verdict.run,
        }
    )
    before = promotion.status.checks
    if any(one.name == check for one in before):
        after = tuple(answered if one.name == check else one for one in before)
    else:
        after = (*before, answered)
    return promotion.with_status(promotion.status.model_copy(update={"checks": after}))


def evidence_of(promotions: Iterable[Promotion]) -> set[str]:
    """Return the digests of all evidence that promotions name."""
    return {
        piece.digest
        for one in promotions
        for check in one.status.checks
        for piece in check.evidence
        if piece.digest
    }
