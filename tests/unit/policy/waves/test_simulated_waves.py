"""Waves of a fleet of images whose bases all change: those that go first, the stop, the budget."""

import pytest
from tests.support.fleet.images import FleetShape, ImageFleet, made_fleet
from tests.support.fleet.registries import thirty_registries
from tests.support.fleet.simulation import DayReport, DayShape, GlibcDay
from tests.support.fleet.virtual_time import run_in_virtual_time
from tests.support.fleet.waves import WavesShape

from upwell.api.waves.wave import CanaryState, WavePhase

IMAGES = 200


@pytest.fixture(scope="module")
def fleet() -> ImageFleet:
    return made_fleet(FleetShape(images=IMAGES, registries=3, running=0.5, broken=0.0))


def play(fleet: ImageFleet, waves: WavesShape | None) -> DayReport:
    async def day() -> DayReport:
        shape = DayShape(builders=20, transient=0.0, waves=waves)
        return await GlibcDay(fleet, shape, thirty_registries(lost=0.0)).play()

    return run_in_virtual_time(day())


def test_a_share_goes_first_and_all_have_it_in_the_end(fleet: ImageFleet) -> None:
    at_once, waves = play(fleet, None), play(fleet, WavesShape(canary=0.05))

    assert len(waves.workloads) == len(at_once.workloads) == len(fleet.running)
    assert waves.kept_back == 0
    for base, wave in waves.waves.items():
        canary = wave.status.canary
        assert wave.status.phase is WavePhase.COMPLETE, wave.status.message
        if canary is None or not canary.workloads:
            continue
        assert canary.state is CanaryState.PASSED
        # Who goes first in a Wave does so in all, so some are of another base's.
        assert waves.went_ahead[base] <= len(canary.workloads) + 3
    assert waves.until(0.9, waves.workloads) >= at_once.until(0.9, at_once.workloads)


def test_an_image_that_breaks_what_goes_first_gets_nowhere_else(fleet: ImageFleet) -> None:
    report = play(fleet, WavesShape(canary=0.05, breaks=1.0))

    begun = len(fleet.running) - report.kept_back
    assert not report.workloads
    assert begun <= 0.25 * len(fleet.running)
    states = {one.status.canary.state for one in report.waves.values() if one.status.canary}
    assert CanaryState.PASSED not in states


def test_a_change_that_fails_too_often_is_stopped(fleet: ImageFleet) -> None:
    shape = WavesShape(canary=0.0, stop_at=0.2, rollouts=5, breaks=1.0)
    report = play(fleet, shape)

    stopped = [one for one in report.waves.values() if one.status.phase is WavePhase.STOPPED]
    assert stopped
    assert report.kept_back > 0
    for wave in stopped:
        assert wave.status.stop is not None
        assert len({one.namespace for one in wave.status.stop.failures}) > 1


def test_levels_are_those_of_the_fleet_and_a_budget_makes_rollouts_wait(fleet: ImageFleet) -> None:
    one_by_one = play(fleet, WavesShape(canary=0.0, rollouts=1))

    assert {wave.status.levels for wave in one_by_one.waves.values()} >= {3}
    seconds = one_by_one.until(1.0, one_by_one.workloads)
    assert seconds >= 40.0 * len(fleet.running)  # one after the other
