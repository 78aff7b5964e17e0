"""At which times a metric is asked for, and what the answers come to."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upwell.api.pipeline import Check, MetricCheck
from upwell.api.promotion import CheckPhase, CheckResult
from upwell.api.values.thresholds import Threshold
from upwell.policy.promotion.verification import metrics
from upwell.policy.promotion.verification.checks import begun
from upwell.policy.promotion.verification.soak import Soak

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
LOW = Threshold.parse("< 0.5")


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def check(failure_limit: int = 0) -> Check:
    metric = MetricCheck(
        server="http://p:9090",
        query="errors",
        condition="< 0.5",
        interval_seconds=30,
        failure_limit=failure_limit,
    )
    return Check(name="errors", metric=metric, timeout_seconds=100)


def sampled(*values: float | None) -> CheckResult:
    """Return a result with these samples, one each 30 s from the start."""
    result = begun(CheckResult(name="errors"), START)
    for number, value in enumerate(values):
        result = metrics.sampled(LOW, result, at(30 * number), value)
    return result


def verdict(result: CheckResult, now: float, limit: int = 0, soak: int = 60) -> CheckPhase | None:
    span = metrics.span(result, Soak(soak, START, now), at(now))
    found = metrics.verdict(check(limit), result, span, at(now))
    return found.phase if found is not None else None


def due(result: CheckResult, now: float) -> list[float]:
    span = metrics.span(result, Soak(60, START, now), at(now))
    metric = check().metric
    assert metric is not None
    times = metrics.due(metric, result.samples, span, at(now))
    return [(time - START).total_seconds() for time in times]


def test_times_lie_on_a_grid_that_begins_with_the_soak() -> None:
    assert due(sampled(), 0) == [0]
    assert due(sampled(0.1), 29) == []
    assert due(sampled(0.1), 30) == [30]


def test_what_was_missed_is_made_up_for_in_several_looks() -> None:
    assert due(sampled(0.1), 3600) == [30, 60, 90, 120, 150]


def test_a_clock_that_went_back_begins_the_grid_anew() -> None:
    assert due(sampled(0.1, 0.1), -3600) == [-3600]


@pytest.mark.parametrize(
    ("values", "now", "limit", "phase"),
    [
        ([0.1], 0, 0, None),
        ([0.1, 0.1], 59, 0, None),
        ([0.1, 0.1, 0.1], 60, 0, CheckPhase.PASSED),
        ([0.1, 0.9], 30, 0, CheckPhase.FAILED),
        ([0.1, 0.9, 0.1], 60, 1, CheckPhase.PASSED),
        ([0.9, 0.9], 30, 1, CheckPhase.FAILED),
        ([None], 0, 0, CheckPhase.INCONCLUSIVE),
        ([None, None], 30, 1, CheckPhase.INCONCLUSIVE),
        ([0.1, None], 30, 0, CheckPhase.FAILED),
        # Missing samples are no good ones, however late it is.
        ([0.1], 60, 0, None),
        ([0.1], 160, 0, CheckPhase.INCONCLUSIVE),
        ([], 159, 0, None),
        ([], 160, 0, CheckPhase.INCONCLUSIVE),
        # Nothing was ever good, and the limit was never passed.
        ([None, None, None], 60, 3, None),
        ([None, None, None], 160, 9, CheckPhase.INCONCLUSIVE),
    ],
)
def test_it_passes_when_the_whole_soak_is_covered_and_good(
    values: list[float | None], now: float, limit: int, phase: CheckPhase | None
) -> None:
    assert verdict(sampled(*values), now, limit) == phase


def test_without_a_soak_one_good_sample_is_a_pass() -> None:
    assert verdict(sampled(0.1), 0, soak=0) is CheckPhase.PASSED


def test_a_later_attempt_lasts_as_long_from_its_own_start() -> None:
    second = begun(CheckResult(name="errors", attempt=2), at(500))
    span = metrics.span(second, Soak(60, START, 510), at(510))
    assert (span.start, span.end) == (at(500), at(560))


@given(st.lists(st.none() | st.floats(0, 1), max_size=100))
def test_few_samples_are_kept_and_always_the_newest_and_a_good_one(
    values: list[float | None],
) -> None:
    result = sampled(*values)
    good = [value is not None and value < 0.5 for value in values]
    assert len(result.samples) == min(len(values), metrics.SAMPLES_KEPT)
    assert result.bad_samples == good.count(False)
    assert any(sample.good for sample in result.samples) == any(good)
    if values:
        assert result.samples[-1].at == at(30 * (len(values) - 1))


def test_time_of_a_soak_that_does_not_count_makes_it_longer() -> None:
    result = sampled(0.1, 0.2, 0.1)
    assert metrics.span(result, Soak(60, START, 20), at(60)).end == at(100)
    assert metrics.span(result, Soak(60, START, 60), at(100)).end == at(100)
    assert metrics.span(result, Soak(60, START), at(86_400)).end == at(86_460)


def test_what_runs_again_has_a_soak_of_its_own() -> None:
    again = begun(CheckResult(name="errors", first_started=START), at(40))
    span = metrics.span(again, Soak(60, START, 40), at(50))
    assert (span.start, span.end) == (at(40), at(100))
