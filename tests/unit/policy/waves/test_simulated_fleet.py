"""A thousand images on thirty registries whose bases all change: bounds on time and requests."""

import asyncio
from collections.abc import Sequence

import pytest
from tests.support.fleet.images import FleetShape, ImageFleet, made_fleet
from tests.support.fleet.registries import (
    RequestSort,
    SimulatedHost,
    StormingHost,
    drawn,
    thirty_registries,
)
from tests.support.fleet.simulation import DayReport, DayShape, GlibcDay
from tests.support.fleet.virtual_time import run_in_virtual_time

IMAGES, BUILDERS = 1_000, 50
SMALL = 300
IMPORTED = 900.0 * 1.1 + 60.0
"""Seconds until every vendor's tag was looked at: the interval, its spread, and a repeated try."""


def play(
    fleet: ImageFleet, shape: DayShape, registries: Sequence[SimulatedHost] | None = None
) -> DayReport:
    async def day() -> DayReport:
        return await GlibcDay(fleet, shape, registries or thirty_registries()).play()

    return run_in_virtual_time(day())


def unreachable(fleet: ImageFleet) -> set[int]:
    """Return the images whose build fails each time, and what stands on them."""
    found: set[int] = set()
    for image in fleet.built():
        if image in fleet.broken or found.intersection(fleet.parents[image]):
            found.add(image)
    return found


def longest_chain(fleet: ImageFleet) -> float:
    """Return the seconds of the builds that follow one another for longest."""
    chains: list[float] = []
    for image, parents in enumerate(fleet.parents):
        before = max((chains[one] for one in parents), default=0.0)
        chains.append(before + fleet.seconds[image])
    return max(chains)


@pytest.fixture(scope="module")
def fleet() -> ImageFleet:
    return made_fleet(FleetShape(images=IMAGES))


@pytest.fixture(scope="module")
def small() -> ImageFleet:
    return made_fleet(FleetShape(images=SMALL))


@pytest.fixture(scope="module")
def report(fleet: ImageFleet) -> DayReport:
    return play(fleet, DayShape(builders=BUILDERS))


def test_all_that_can_be_reached_is_in_the_time_that_its_builds_take(
    fleet: ImageFleet, report: DayReport
) -> None:
    assert report.unreached == len(unreachable(fleet))
    assert report.builds - report.retries <= IMAGES * 1.03  # a second for what has two vendors
    work, chain = sum(fleet.seconds) / BUILDERS, longest_chain(fleet)
    assert report.until(0.9, report.images) <= IMPORTED + 1.15 * work
    assert report.until(1.0, report.images) <= IMPORTED + 1.15 * (max(work, chain) + chain)
    assert len(report.workloads) == len(fleet.running - unreachable(fleet))


def test_no_registry_is_asked_for_more_than_its_budget(
    fleet: ImageFleet, report: DayReport
) -> None:
    pushes = report.builds * 18
    looks = fleet.bases * (2 + report.until(1.0, report.workloads) // 810)
    asked = sum(one.asked.total() for one in report.registries)
    assert asked <= pushes + looks + fleet.bases * 8
    for registry in report.registries:
        given = registry.asked[RequestSort.PULL] - registry.refused
        assert given <= 2 * fleet.bases / len(report.registries) + 2
        if registry.limits and all(limit.retry_after for limit in registry.limits):
            assert registry.refused <= 0.02 * registry.asked.total()


def test_a_base_that_is_published_again_costs_no_second_build_of_what_has_not_begun(
    small: ImageFleet,
) -> None:
    once = play(small, DayShape(builders=6))
    twice = play(small, DayShape(builders=6, published=(0.0, 1200.0)))

    extra = (twice.builds - twice.retries) - (once.builds - once.retries)
    begun = sum(time <= 1200.0 + IMPORTED for time in once.images) + 6
    # Before the second publication was seen; what has two vendors may be built for each.
    assert 0 < extra <= 1.1 * begun
    assert twice.unreached == once.unreached


def test_a_registry_that_refuses_pushes_slows_no_image_of_another(small: ImageFleet) -> None:
    calm = play(small, DayShape(builders=6))
    storm = thirty_registries()
    storm[9] = StormingHost(storm[9].name, (), drawn(1), ends=6 * 3600.0)
    stormy = play(small, DayShape(builders=6), storm)

    assert stormy.unreached == calm.unreached
    assert stormy.until(0.8, stormy.images) <= 1.1 * calm.until(0.8, calm.images)
    tries = stormy.spent["waits in a push for a registry"] / 300.0  # five minutes each
    assert tries <= 6 + 6 * 3600.0 / 600.0  # at once, and then one at a time
    assert storm[9].refused < 5_000


def test_a_base_that_is_published_every_ten_seconds_is_built_upon_once_a_look(
    small: ImageFleet,
) -> None:
    published = tuple(10.0 * number for number in range(60))
    report = play(small, DayShape(builders=6, published=published))

    assert report.builds - report.retries <= 1.6 * SMALL


def test_rebases_take_the_time_of_what_is_still_built() -> None:
    fleet = made_fleet(FleetShape(images=SMALL, rebased=0.8))
    report = play(fleet, DayShape(builders=6))

    built = sum(seconds for n, seconds in enumerate(fleet.seconds) if n not in fleet.rebased)
    assert report.rebases >= 0.6 * SMALL
    assert report.until(0.9, report.images) <= IMPORTED + 1.15 * built / 6


def test_virtual_time_stands_still_while_there_is_work() -> None:
    async def times() -> list[float]:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        await asyncio.gather(asyncio.sleep(3600), asyncio.sleep(60))
        return [begun, loop.time()]

    assert run_in_virtual_time(times()) == pytest.approx([0.0, 3600.0])
