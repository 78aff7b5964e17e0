"""Progress of a Wave: the time at which it is foretold to end."""

from datetime import UTC, datetime, timedelta

import pytest

from upwell.api.meta import ObjectKey, ObjectMeta
from upwell.api.waves.wave import Wave, WaveSpec, WaveStatus
from upwell.policy.explain.freshness import Snapshot
from upwell.policy.waves.estimate import Estimate
from upwell.policy.waves.impact import Impact, PlannedChange, PlannedStep, StepAction
from upwell.policy.waves.progress import wave_status

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
NODE = ObjectKey("BuildConfig", "shop", "app")


def told(before: int, now: int) -> float:
    """Return the seconds to its end that a Wave tells, which told `before` and expects `now`."""
    step = PlannedStep(NODE, StepAction.REBUILD, 1, ())
    wave = Wave(
        metadata=ObjectMeta(name="debian-1"),
        spec=WaveSpec(image="docker.io/library/debian:11", digest=f"sha256:{'a' * 64}"),
        status=WaveStatus(estimated_end=NOW + timedelta(seconds=before)),
    )
    ends = Estimate({NODE: timedelta(seconds=now)}, 0, 0, 2)
    impact = Impact(PlannedChange((), ""), {NODE: step})
    status = wave_status(wave, impact, Snapshot([]), ends, NOW)
    assert status.estimated_end is not None
    return (status.estimated_end - NOW).total_seconds()


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        pytest.param(3600, 3630, 3600, id="half a minute of an hour is no news"),
        pytest.param(3600, 3670, 3670, id="more than a minute is"),
        pytest.param(50, 52, 50, id="two seconds of fifty are none"),
        pytest.param(20, 50, 50, id="half a minute of fifty seconds is"),
    ],
)
def test_the_end_is_told_anew_when_that_is_news(before: int, now: int, expected: int) -> None:
    assert told(before, now) == expected
