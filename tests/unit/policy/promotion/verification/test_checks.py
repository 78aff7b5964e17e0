"""Attempts, retries, timeouts, flaky tests and the soak: only a pass is a pass."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upwell.api.pipeline import Check
from upwell.api.promotion import CheckPhase, CheckResult, Evidence, Sample
from upwell.policy.promotion.verification.checks import (
    CheckAttempt,
    CheckStep,
    CheckVerdict,
    VerificationOutcome,
    anchored,
    begun,
    concluded,
    judged,
    pause,
    results_of,
    settled,
)
from upwell.policy.promotion.verification.disturbance import Disturbance
from upwell.policy.promotion.verification.soak import Soak

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
NO_SOAK = Soak(0, NOW)
PASSED, FAILED, INCONCLUSIVE = CheckPhase.PASSED, CheckPhase.FAILED, CheckPhase.INCONCLUSIVE
ROUTER = Disturbance("router was faulty")


def later(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def run(check: Check, phases: Iterator[CheckPhase]) -> CheckResult:
    """Return how a check ends whose attempts end with these phases, one after the other."""
    result = CheckResult(name=check.name)
    while not result.phase.is_final:
        ended = judged(begun(result, NOW), CheckVerdict(next(phases), "as told"), NOW)
        result = settled(check, ended)
    return result


@pytest.mark.parametrize(
    ("phases", "flaky", "ends", "noted"),
    [
        ([PASSED], "Accept", PASSED, False),
        ([FAILED, PASSED], "Accept", PASSED, True),
        ([FAILED, PASSED], "Reject", FAILED, True),
        ([FAILED, INCONCLUSIVE, PASSED], "Accept", PASSED, True),
        ([FAILED, FAILED, FAILED], "Accept", FAILED, False),
        ([FAILED, FAILED, INCONCLUSIVE], "Accept", INCONCLUSIVE, False),
    ],
)
def test_a_check_is_tried_again_until_it_passes_or_its_retries_are_used_up(
    phases: list[CheckPhase], flaky: str, ends: CheckPhase, *, noted: bool
) -> None:
    left = iter(phases)
    result = run(Check(name="e2e", retries=2, flaky=flaky), left)
    assert (result.phase, result.flaky, list(left)) == (ends, noted, [])


@given(
    st.lists(st.sampled_from([PASSED, FAILED, INCONCLUSIVE]), min_size=11, max_size=11),
    st.integers(0, 10),
    st.sampled_from(["Accept", "Reject"]),
)
def test_whatever_attempts_say_a_check_passes_by_a_pass_alone(
    phases: list[CheckPhase], retries: int, flaky: str
) -> None:
    result = run(Check(name="e2e", retries=retries, flaky=flaky), iter(phases))
    tried = phases[: retries + 1]
    assert result.attempt <= retries + 1
    assert (result.phase is PASSED) == (tried[0] is PASSED or (PASSED in tried and flaky[0] == "A"))
    assert settled(Check(name="e2e", retries=retries, flaky=flaky), result) == result


def test_each_attempt_keeps_its_evidence_under_a_name_of_its_own() -> None:
    check = Check(name="e2e", retries=1)
    log = CheckVerdict(FAILED, "no", (Evidence(name="log.txt", digest="sha256:a"),))
    second = settled(check, judged(begun(CheckResult(name="e2e"), NOW), log, NOW))
    assert second.message == "attempt 1 of 2: no"
    ended = settled(check, judged(begun(second, later(2)), log, later(9)))
    assert [one.name for one in ended.evidence] == ["log.txt", "attempt-2/log.txt"]


def test_attempts_are_apart_and_a_clock_that_went_back_keeps_none_waiting() -> None:
    check = Check(name="e2e", retries=10)
    result, pauses = CheckResult(name="e2e"), []
    for _ in range(8):
        result = settled(check, judged(begun(result, NOW), CheckVerdict(FAILED, ""), NOW))
        pauses.append(pause(result, NOW))
    assert pauses == [2, 4, 8, 16, 32, 60, 60, 60]
    assert pause(result, later(59)) == 1
    assert pause(result, later(60)) == pause(result, later(-1)) == 0
    assert pause(CheckResult(name="e2e"), NOW) == 0
    assert begun(result, NOW).ended is None


def test_an_attempt_has_its_time_and_no_more_when_the_clock_goes_back() -> None:
    check = Check(name="e2e", timeout_seconds=60)
    result = begun(CheckResult(name="e2e"), NOW)
    assert [CheckAttempt(check, result, later(at)).left for at in (0, 59, 60, 999)] == [60, 1, 0, 0]

    a_day_ago = later(-86_400)
    assert CheckAttempt(check, anchored(result, a_day_ago), a_day_ago).left == 60
    assert anchored(result, later(10)) == result


def test_no_time_in_which_the_machine_was_at_fault_counts() -> None:
    check = Check(name="e2e", timeout_seconds=60)
    result = begun(CheckResult(name="e2e"), NOW)
    assert CheckAttempt(check, result, later(90), well_since=later(80)).left == 50
    assert CheckAttempt(check, result, later(90), well_since=later(-80)).left == 0
    assert CheckAttempt(check, result, later(20), well_since=later(999)).left == 40


def test_it_is_looked_at_again_when_its_time_is_over_if_not_before() -> None:
    attempt = CheckAttempt(Check(name="e2e", timeout_seconds=60), CheckResult(name="e2e"), NOW)
    assert attempt.goes_on("waits").again == 60
    assert attempt.goes_on("waits", 10).again == 10
    assert attempt.goes_on("waits", 100).again == 60


def steps(**phases: CheckPhase) -> list[CheckStep]:
    return [
        CheckStep(CheckResult(name=name, phase=phase, message=f"{name} said"), again=30)
        for name, phase in phases.items()
    ]


def test_all_checks_and_the_soak_together_make_a_pass() -> None:
    passed = concluded(steps(a=PASSED, b=PASSED), NO_SOAK, NOW)
    assert (passed.outcome, passed.message) == (VerificationOutcome.PASSED, "passed checks a, b")
    soaking = concluded(steps(a=PASSED), Soak(600, NOW, 590), later(900))
    assert soaking.outcome is VerificationOutcome.RUNNING
    assert soaking.message == "soaked 540 s of 600 s"
    assert soaking.again == 10
    assert concluded([], NO_SOAK, NOW).outcome is VerificationOutcome.PASSED


def test_what_runs_is_waited_for() -> None:
    found = concluded(steps(a=PASSED, b=CheckPhase.RUNNING), NO_SOAK, NOW)
    assert (found.outcome, found.again) == (VerificationOutcome.RUNNING, 30)
    assert found.message == "waits for check b: b said"
    both = concluded(steps(a=CheckPhase.RUNNING, b=CheckPhase.RUNNING), NO_SOAK, NOW)
    assert both.message == "waits for checks a, b"


@pytest.mark.parametrize(
    ("phases", "outcome", "message"),
    [
        ({"b": FAILED}, VerificationOutcome.FAILED, "check b: b said"),
        ({"b": INCONCLUSIVE}, VerificationOutcome.INCONCLUSIVE, "check b: b said"),
        ({"b": INCONCLUSIVE, "c": FAILED}, VerificationOutcome.FAILED, "check c: c said"),
    ],
)
def test_one_bad_check_ends_it_at_once(
    phases: dict[str, CheckPhase], outcome: VerificationOutcome, message: str
) -> None:
    found = concluded(steps(a=CheckPhase.RUNNING, **phases), Soak(600, NOW), NOW)
    assert (found.outcome, found.message) == (outcome, message)
    assert found.checks[0].phase is INCONCLUSIVE
    assert "not finished" in found.checks[0].message


def test_results_follow_the_checks_of_now() -> None:
    stored = [
        CheckResult(name="gone", phase=CheckPhase.RUNNING),
        CheckResult(name="verdict", phase=FAILED),
        CheckResult(name="kept", phase=PASSED),
    ]
    found = results_of([Check(name="new"), Check(name="kept")], stored)
    assert [(one.name, one.phase) for one in found] == [
        ("new", CheckPhase.PENDING),
        ("kept", PASSED),
        ("verdict", FAILED),
    ]


def test_a_flaky_pass_is_said() -> None:
    flaky = CheckResult(name="a", phase=PASSED, flaky=True)
    assert concluded([CheckStep(flaky)], NO_SOAK, NOW).message == "passed check a; flaky: a"


def test_what_the_machine_did_uses_up_no_excuse_of_an_instance() -> None:
    check = Check(name="e2e", timeout_seconds=60)
    result = begun(CheckResult(name="e2e"), NOW)
    by_router = CheckAttempt(check, result, later(5)).disturbed(ROUTER, "exit code 1").result
    assert not by_router.ended_instance_excused

    ended = Disturbance("web-0 was not ready", ended_by_itself=True)
    by_instance = CheckAttempt(check, begun(by_router, later(6)), later(9)).disturbed(ended, "x")
    assert by_instance.result.ended_instance_excused
    once_more = begun(by_instance.result, later(10))
    assert (
        CheckAttempt(check, once_more, later(12))
        .disturbed(ROUTER, "x")
        .result.ended_instance_excused
    )


def test_what_was_disturbed_runs_again_for_as_long_as_it_may_take() -> None:
    check = Check(name="e2e", timeout_seconds=60)
    result = begun(CheckResult(name="e2e", samples=(Sample(at=NOW),), bad_samples=1), NOW)
    late = CheckAttempt(check, result, later(59)).disturbed(ROUTER, "exit code 1")
    assert (late.result.phase, late.result.attempt) == (CheckPhase.PENDING, 1)
    assert late.result.message == "runs again: router was faulty while it ran: exit code 1"
    assert (late.result.first_started, late.result.samples) == (NOW, ())
    assert late.result.bad_samples == 0

    again = begun(late.result, later(61))
    ended = CheckAttempt(check, again, later(70)).disturbed(ROUTER, "exit code 0")
    assert ended.result.phase is CheckPhase.INCONCLUSIVE
    assert "it ran again for 60 s, and each time something was wrong" in ended.result.message
    fresh = CheckAttempt(check, again, later(70), well_since=later(65)).disturbed(ROUTER, "y")
    assert fresh.result.phase is CheckPhase.PENDING
    assert anchored(again, later(-9)).first_started == later(-9)
