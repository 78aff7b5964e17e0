"""Transitions of a promotion that has begun."""

from datetime import UTC, datetime, timedelta

import pytest

from upwell.api.pipeline import Stage
from upwell.api.promotion import CheckPhase, CheckResult, PromotionPhase, PromotionStatus, Purpose
from upwell.policy.promotion import transitions

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
STAGE = Stage(name="dev", rollout_seconds=600)


def verifying() -> PromotionStatus:
    rolled = transitions.in_step(PromotionStatus(started=NOW), transitions.ROLL_OUT, NOW)
    return transitions.serves(rolled, Purpose.PROMOTE, NOW + timedelta(seconds=5))


def test_one_step_is_open_and_the_one_before_it_ended() -> None:
    status = verifying()
    assert status.phase is PromotionPhase.VERIFYING
    assert [(one.name, one.ended is None) for one in status.steps] == [
        ("RollOut", False),
        ("Verify", True),
    ]
    assert transitions.in_step(status, transitions.VERIFY, NOW + DAY) == status
    ended = transitions.passed(status, NOW + DAY)
    assert ended.phase is PromotionPhase.SUCCEEDED
    assert all(one.ended is not None for one in ended.steps)


def test_a_failure_goes_back_where_there_is_something_to_go_back_to() -> None:
    good = verifying().model_copy(update={"last_good": "shop-1"})

    def failed(status: PromotionStatus, purpose: Purpose = Purpose.PROMOTE) -> PromotionPhase:
        return transitions.failed(status, purpose, "shop-2", "no", NOW).phase

    assert failed(good) is PromotionPhase.ROLLING_BACK
    assert failed(verifying()) is PromotionPhase.FAILED
    # What serves is left alone when it is only verified again, and what a person put back.
    assert failed(good, Purpose.VERIFY) is PromotionPhase.FAILED
    assert failed(good, Purpose.ROLL_BACK) is PromotionPhase.FAILED
    same = good.model_copy(update={"last_good": "shop-2"})
    assert failed(same) is PromotionPhase.FAILED


def test_nothing_is_counted_from_a_time_ahead() -> None:
    status = verifying()
    assert transitions.anchored(status, NOW + DAY) is status
    back = transitions.anchored(status, NOW - DAY)
    assert back.serving_since == NOW - DAY
    assert transitions.deadline(back, STAGE) == NOW - DAY + timedelta(seconds=600)
    # Only the open step: what has ended is history.
    assert back.steps[0] == status.steps[0]


def test_no_message_grows_without_end() -> None:
    for status in (
        transitions.going_on(verifying(), "x" * 9999),
        transitions.failed(verifying(), Purpose.PROMOTE, "shop-2", "x" * 9999, NOW),
        transitions.not_put_back(verifying(), "x" * 9999, NOW),
    ):
        assert len(status.message) <= 2000


@pytest.mark.parametrize("last_good", ["", "shop-1"])
def test_no_check_runs_for_ever_in_a_promotion_that_failed_beside_it(last_good: str) -> None:
    passed = CheckResult(name="smoke", phase=CheckPhase.PASSED, message="exit code 0")
    unfinished = [
        CheckResult(name="load", phase=CheckPhase.RUNNING, started=NOW),
        CheckResult(name="home", message="waits: the router is down"),
    ]
    checks = {"checks": (passed, *unfinished), "last_good": last_good}
    status = verifying().model_copy(update=checks)

    for ended in (
        transitions.failed(status, Purpose.PROMOTE, "shop-2", "no progress for 600 s", NOW + DAY),
        transitions.taken_over(status, "no progress for 600 s", NOW + DAY),
    ):
        assert ended.checks[0] == passed
        for check in ended.checks[1:]:
            assert (check.phase, check.ended) == (CheckPhase.INCONCLUSIVE, NOW + DAY)
            assert check.message.startswith("not finished: no progress for 600 s")
