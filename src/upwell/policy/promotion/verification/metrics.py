"""Metric checks: at which times a query is asked, and what its values come to.

Samples lie on a grid that begins with the soak. A time that was missed, because nothing ran or
answered then, is asked for later: a metric store answers for the past as well.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from upwell.api.pipeline import Check, MetricCheck
from upwell.api.promotion import CheckPhase, CheckResult, Sample
from upwell.api.values.thresholds import Threshold
from upwell.policy.promotion.verification.checks import CheckVerdict
from upwell.policy.promotion.verification.soak import Soak

SAMPLES_KEPT = 20
_AT_ONCE = 5
"""Samples that one look takes: what is missed after a long time away is made up in several."""


@dataclass(frozen=True, slots=True)
class MetricPeriod:
    """The time over which a metric must hold."""

    start: datetime
    end: datetime


def span(result: CheckResult, soak: Soak, now: datetime) -> MetricPeriod:
    """Return the soak; for a later attempt or run, as long a time from its own start."""
    begun = result.started or now
    if result.attempt > 1 or result.first_started is not None or soak.since is None:
        return MetricPeriod(begun, begun + timedelta(seconds=soak.seconds))
    return MetricPeriod(min(soak.since, now), soak.end(now))


def due(
    metric: MetricCheck, samples: Sequence[Sample], wanted: MetricPeriod, now: datetime
) -> list[datetime]:
    """Return the times whose samples are missing, the oldest first."""
    interval = timedelta(seconds=metric.interval_seconds)
    following = samples[-1].at + interval if samples else wanted.start
    if samples and samples[-1].at > now:
        following = now  # the clock went back: the grid begins anew
    found: list[datetime] = []
    while following <= now and len(found) < _AT_ONCE:
        found.append(following)
        following += interval
    return found


def sampled(
    threshold: Threshold, result: CheckResult, at: datetime, value: float | None
) -> CheckResult:
    """Return the result with one more sample; no value is a bad one."""
    good = value is not None and threshold.holds(value)
    samples = (*result.samples, Sample(at=at, value=value, good=good))
    return result.model_copy(
        update={"samples": _newest(samples), "bad_samples": result.bad_samples + (not good)}
    )


def _newest(samples: tuple[Sample, ...]) -> tuple[Sample, ...]:
    """Drop old samples, but never the best there was: it says whether there was any."""
    kept = samples[-SAMPLES_KEPT:]
    best = max(samples, key=lambda one: (one.good, one.value is not None, one.at))
    return kept if best in kept else (best, *kept[1:])


def verdict(
    check: Check, result: CheckResult, wanted: MetricPeriod, now: datetime
) -> CheckVerdict | None:
    """Say how the check ended; None while it goes on."""
    metric = check.metric
    if metric is None:
        return None
    if result.bad_samples > metric.failure_limit:
        return _failed(metric, result)
    interval = timedelta(seconds=metric.interval_seconds)
    newest = result.samples[-1].at if result.samples else None
    covered = newest is not None and now >= wanted.end and newest + interval > wanted.end
    if covered and any(sample.good for sample in result.samples):
        bad = f", but for {result.bad_samples} samples" if result.bad_samples else ""
        return CheckVerdict(CheckPhase.PASSED, f"{metric.condition} held{bad}")
    if now >= wanted.end + timedelta(seconds=check.timeout_seconds):
        what = "no good sample" if covered else "samples are missing"
        why = f"{what} {check.timeout_seconds} s after the soak"
        return CheckVerdict(CheckPhase.INCONCLUSIVE, why)
    return None


def latest(result: CheckResult) -> str:
    """Return the newest value, for people."""
    value = result.samples[-1].value if result.samples else None
    return "no number" if value is None else f"{value:g}"


def _failed(metric: MetricCheck, result: CheckResult) -> CheckVerdict:
    if not any(one.value is not None for one in result.samples):
        return CheckVerdict(CheckPhase.INCONCLUSIVE, "the query gave no number at any time")
    allowed = f"{result.bad_samples} bad samples, {metric.failure_limit} allowed"
    return CheckVerdict(CheckPhase.FAILED, f"{latest(result)}, not {metric.condition} ({allowed})")
