"""Results of checks: attempts, retries, timeouts, soak; only a pass is a pass."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from upwell.api.pipeline import Check
from upwell.api.promotion import CheckPhase, CheckResult, Evidence
from upwell.policy.promotion.verification.disturbance import Disturbance
from upwell.policy.promotion.verification.soak import Soak

ACCEPT_FLAKY = "Accept"

_PAUSES = (2, 60)
"""Seconds before the second attempt of a check, doubling for each further one, and the longest."""
_MAX_MESSAGE = 2000
_SOAK_LOOK = 10.0
"""Seconds after which what soaks is looked at: time that nobody watched does not count."""


class VerificationOutcome(StrEnum):
    """State of the verification of a stage."""

    RUNNING = "Running"
    PASSED = "Passed"
    FAILED = "Failed"
    INCONCLUSIVE = "Inconclusive"
    """No answer that can be trusted: the Release must not go on either."""


@dataclass(frozen=True, slots=True)
class VerificationProgress:
    """Results of checks to store, and the outcome that they come to."""

    checks: tuple[CheckResult, ...]
    outcome: VerificationOutcome
    message: str
    """Reason of the wait, or of the end, for people."""
    again: float | None = None
    """Seconds until something is to be looked at; None: a change of an object will tell."""


@dataclass(frozen=True, slots=True)
class CheckVerdict:
    """Result of an attempt."""

    phase: CheckPhase
    message: str
    evidence: tuple[Evidence, ...] = ()


@dataclass(frozen=True, slots=True)
class CheckStep:
    """A check's result after it was looked at, and when to look again (seconds)."""

    result: CheckResult
    again: float | None = None


@dataclass(frozen=True, slots=True)
class CheckAttempt:
    """A check that runs, at the moment at which it is looked at."""

    check: Check
    result: CheckResult
    now: datetime
    well_since: datetime | None = None
    """Time since which machine and runtime are well: none before it is held against the check."""

    @property
    def deadline(self) -> datetime:
        """Time after which it has taken too long."""
        return self._counted(self.result.started or self.now) + self._allowed

    @property
    def left(self) -> float:
        """Seconds until then; 0 when it is over."""
        return max((self.deadline - self.now).total_seconds(), 0)

    @property
    def may_run_again(self) -> bool:
        """True if it may run once more for what was wrong beside it: within its time, or once."""
        first = self.result.first_started
        return first is None or self._counted(first) + self._allowed > self.now

    def goes_on(self, message: str, again: float | None = None) -> CheckStep:
        """Say what it waits for; it is looked at again when its time is over, if not before."""
        wait = self.left if again is None else min(again, self.left)
        return CheckStep(self.result.model_copy(update={"message": message}), wait)

    def ended(self, verdict: CheckVerdict) -> CheckStep:
        """End it."""
        return CheckStep(judged(self.result, verdict, self.now))

    def _begins_anew(self, why: str, *, excused: bool) -> CheckStep:
        """Forget how it ended: that says nothing about the Release."""
        changes = {
            "phase": CheckPhase.PENDING,
            "ended": self.now,
            "first_started": self.result.first_started or self.result.started or self.now,
            "ended_instance_excused": self.result.ended_instance_excused or excused,
            "message": f"runs again: {why}",
            "samples": (),
            "bad_samples": 0,
        }
        return CheckStep(self.result.model_copy(update=changes))

    def disturbed(self, beside: Disturbance, message: str) -> CheckStep:
        """Run it again, or, when each run was disturbed for as long as it may take, give it up."""
        text = f"{beside.why} while it ran: {message}"[:_MAX_MESSAGE]
        if self.may_run_again:
            return self._begins_anew(text, excused=beside.ended_by_itself)
        seconds = self.check.timeout_seconds
        text = f"it ran again for {seconds} s, and each time something was wrong beside it: {text}"
        return self.ended(CheckVerdict(CheckPhase.INCONCLUSIVE, text))

    def named(self, evidence: str) -> str:
        """Return the name of this attempt's evidence: that of earlier ones stays beside it."""
        return _evidence_name(self.result, evidence)

    @property
    def _allowed(self) -> timedelta:
        return timedelta(seconds=self.check.timeout_seconds)

    def _counted(self, began: datetime) -> datetime:
        """Return the time from which on its time counts: machine and runtime were well."""
        if self.well_since is not None and self.well_since <= self.now:
            return max(began, self.well_since)
        return began


def results_of(checks: Sequence[Check], stored: Sequence[CheckResult]) -> tuple[CheckResult, ...]:
    """Return a result for each check, and those from elsewhere: verdicts that nobody asked for.

    What has no answer and no check (any more) is left out: nothing would ever end it.
    """
    known = {result.name: result for result in stored}
    names = {check.name for check in checks}
    others = (one for one in stored if one.name not in names and one.phase.is_final)
    return (*(known.get(one.name, CheckResult(name=one.name)) for one in checks), *others)


def pause(result: CheckResult, now: datetime) -> float:
    """Return the seconds until an attempt that has not begun may begin."""
    if result.ended is None or result.ended > now:
        return 0  # the first one, or the clock went back
    shortest, longest = _PAUSES
    wanted = min(shortest << max(result.attempt - 2, 0), longest)
    return max(wanted - (now - result.ended).total_seconds(), 0)


def begun(result: CheckResult, now: datetime) -> CheckResult:
    """Return the attempt as running: it is stored so before anything is done."""
    return _with(result, phase=CheckPhase.RUNNING, started=now, ended=None)


def anchored(result: CheckResult, now: datetime) -> CheckResult:
    """Return the attempt as begun now when it claims to begin later: the clock went back.

    Otherwise its timeout could be as far away as the clock was wrong.
    """
    changes: dict[str, object] = {}
    if result.started is not None and result.started > now:
        changes["started"] = now
    if result.first_started is not None and result.first_started > now:
        changes["first_started"] = now
    return _with(result, **changes) if changes else result


def judged(result: CheckResult, verdict: CheckVerdict, now: datetime) -> CheckResult:
    """Return the attempt as ended."""
    added = (
        one.model_copy(update={"name": _evidence_name(result, one.name)})
        for one in verdict.evidence
    )
    return _with(
        result,
        phase=verdict.phase,
        ended=now,
        message=verdict.message,
        evidence=(*result.evidence, *added),
    )


def _evidence_name(result: CheckResult, name: str) -> str:
    return f"attempt-{result.attempt}/{name}" if result.attempt > 1 else name


def settled(check: Check, result: CheckResult) -> CheckResult:
    """Return what an ended attempt leads to: the next one, or the check's end.

    Asking again changes nothing, so that it may be asked of what somebody else has written.
    """
    if not result.phase.is_final or result.flaky:
        return result
    if result.phase is CheckPhase.PASSED:
        if result.attempt == 1:
            return result
        if check.flaky == ACCEPT_FLAKY:
            return _with(result, flaky=True)
        why = f"passed at attempt {result.attempt} only, and flaky tests are rejected here"
        return _with(result, flaky=True, phase=CheckPhase.FAILED, message=why)
    if result.attempt > check.retries:
        return result
    # Its evidence stays: it shows how the earlier attempts went.
    return CheckResult(
        name=result.name,
        attempt=result.attempt + 1,
        ended=result.ended,
        message=f"attempt {result.attempt} of {check.retries + 1}: {result.message}",
        evidence=result.evidence,
        run=result.run,  # so that a verdict that comes again is known
    )


def concluded(steps: Iterable[CheckStep], soak: Soak, now: datetime) -> VerificationProgress:
    """Say what the checks come to together, and with the soak."""
    found = tuple(steps)
    results = tuple(step.result for step in found)
    for phase, outcome in _BAD:
        bad = [one for one in results if one.phase is phase]
        if bad:
            reasons = "; ".join(f"check {one.name}: {one.message}" for one in bad)
            why = f"check {bad[0].name} did not pass"
            return VerificationProgress(cut_short(results, why, now), outcome, reasons)
    times = [step.again for step in found if step.again is not None]
    waits = [one for one in results if not one.phase.is_final]
    if soak.left:
        times.append(min(soak.left, _SOAK_LOOK))
    again = min(times, default=None)
    if waits:
        return VerificationProgress(results, VerificationOutcome.RUNNING, _waiting(waits), again)
    if soak.left:
        return VerificationProgress(results, VerificationOutcome.RUNNING, soak.text, again)
    return VerificationProgress(results, VerificationOutcome.PASSED, _praise(results))


_BAD = (
    (CheckPhase.FAILED, VerificationOutcome.FAILED),
    (CheckPhase.INCONCLUSIVE, VerificationOutcome.INCONCLUSIVE),
)


def cut_short(results: Sequence[CheckResult], why: str, now: datetime) -> tuple[CheckResult, ...]:
    """End what still runs, as the stage cannot pass any more: what has ended stays as it is."""
    verdict = CheckVerdict(CheckPhase.INCONCLUSIVE, f"not finished: {why}"[:_MAX_MESSAGE])
    return tuple(one if one.phase.is_final else judged(one, verdict, now) for one in results)


def _waiting(waits: Sequence[CheckResult]) -> str:
    text = f"waits for {_named([one.name for one in waits])}"
    return f"{text}: {waits[0].message}" if len(waits) == 1 and waits[0].message else text


def _named(names: Sequence[str]) -> str:
    return f"check{'s' if len(names) > 1 else ''} {', '.join(names)}"


def _praise(results: Sequence[CheckResult]) -> str:
    if not results:
        return "nothing to verify"
    flaky = [one.name for one in results if one.flaky]
    passed = f"passed {_named([one.name for one in results])}"
    return f"{passed}; flaky: {', '.join(flaky)}" if flaky else passed


def _with(result: CheckResult, **changes: object) -> CheckResult:
    return result.model_copy(update=changes)
