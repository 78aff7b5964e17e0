"""Verdict of a test's exit code and its report together."""

import pytest

from upwell.api.promotion import CheckPhase
from upwell.policy.promotion.verification.job_results import Findings, ObservedEnd, judge
from upwell.policy.promotion.verification.junit import Report

GOOD, BAD = Findings(Report(tests=3)), Findings(Report(tests=3, failures=1, failed=("cart.pays",)))
SKIPPED, EMPTY = Findings(Report(tests=3, skipped=3)), Findings(Report())
UNREAD = Findings(fault="there is no report in /out")
HALF = Findings(Report(tests=3), fault="b.xml: not a JUnit report")
PASSED, FAILED, INCONCLUSIVE = CheckPhase.PASSED, CheckPhase.FAILED, CheckPhase.INCONCLUSIVE


@pytest.mark.parametrize(
    ("code", "findings", "phase", "message"),
    [
        (0, None, PASSED, "exit code 0"),
        (3, None, FAILED, "exit code 3"),
        (None, None, INCONCLUSIVE, "DeadlineExceeded"),
        (0, GOOD, PASSED, "3 tests, 0 failed; exit code 0"),
        (0, BAD, FAILED, "3 tests, 1 failed (cart.pays); exit code 0"),
        (1, BAD, FAILED, "3 tests, 1 failed (cart.pays); exit code 1"),
        (1, GOOD, FAILED, "exit code 1; 3 tests, 0 failed"),
        (1, UNREAD, FAILED, "exit code 1"),
        (None, BAD, FAILED, "3 tests, 1 failed (cart.pays); exit code None"),
        (None, GOOD, INCONCLUSIVE, "DeadlineExceeded"),
        (0, UNREAD, INCONCLUSIVE, "exit code 0, but there is no report in /out"),
        (0, HALF, INCONCLUSIVE, "exit code 0, but b.xml: not a JUnit report"),
        (0, SKIPPED, INCONCLUSIVE, "exit code 0, but the report has no test that ran"),
        (0, EMPTY, INCONCLUSIVE, "exit code 0, but the report has no test that ran"),
    ],
)
def test_a_pass_needs_both_and_either_can_fail_it(
    code: int | None, findings: Findings | None, phase: CheckPhase, message: str
) -> None:
    found = judge(ObservedEnd(code, why="DeadlineExceeded"), findings)
    assert (found.phase, found.message) == (phase, message)
