"""Times of containers under a machine's clock that jumps: never in the future, never too old."""

from datetime import UTC, datetime, timedelta

import pytest
from tests.support.clocks import ManualTime

from upwell.workload.podman.containers.facts import ContainerFacts
from upwell.workload.podman.containers.times import ContainerTimes

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
SECOND, DAY = timedelta(seconds=1), timedelta(days=1)


def container(started: datetime, ended: datetime | None = None) -> ContainerFacts:
    return ContainerFacts(
        id="one",
        labels={},
        status="running",
        exit_code=0,
        out_of_memory=False,
        error="",
        created=NOW,
        started_at=started,
        address="",
        image=None,
        ended_at=ended,
    )


def test_at_the_first_listing_podman_is_believed() -> None:
    times = ContainerTimes(ManualTime(NOW))
    assert times.correct(container(NOW - DAY)).started_at == NOW - DAY


@pytest.mark.parametrize("jump", [-DAY, DAY, timedelta()])
def test_a_container_that_is_new_started_after_the_listing_before(jump: timedelta) -> None:
    clock = ManualTime(NOW)
    times = ContainerTimes(clock)
    times.listed(NOW, [])
    clock.now += 10 * SECOND

    started = times.correct(container(NOW + 5 * SECOND + jump)).started_at

    assert started is not None
    assert NOW <= started <= clock.now
    clock.now += DAY
    assert times.correct(container(NOW + 5 * SECOND + jump)).started_at == started


def test_a_start_tomorrow_counts_as_now_and_an_end_is_corrected_too() -> None:
    clock = ManualTime(NOW)
    times = ContainerTimes(clock)
    assert times.correct(container(NOW + DAY)).started_at == NOW

    times.listed(NOW, ["one"])
    clock.now += 10 * SECOND
    found = times.correct(container(NOW + DAY, NOW + DAY + 7 * SECOND))
    assert found.started_at == NOW
    assert found.ended_at == clock.now
