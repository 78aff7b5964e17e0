"""The day on which all base images change, in virtual time: how long it takes, and why.

Run with `pytest -m benchmark -s tests/benchmarks/fleet`; `FLEET_SIZES=1000,100000` picks the sizes.
"""

import os
import resource
import time
from collections import Counter
from collections.abc import Sequence

import pytest
from tests.support.benchmarks.bare_work import loop_seconds
from tests.support.benchmarks.ratios import Ratios
from tests.support.fleet.images import FleetShape, made_fleet
from tests.support.fleet.registries import SimulatedHost, StormingHost, drawn, thirty_registries
from tests.support.fleet.simulation import DayReport, DayShape, GlibcDay
from tests.support.fleet.virtual_time import run_in_virtual_time
from tests.support.fleet.waves import WavesShape

pytestmark = pytest.mark.benchmark

SIZES = [int(size) for size in os.environ.get("FLEET_SIZES", "1000,10000,100000").split(",")]
SHARES = (0.5, 0.9, 0.99, 1.0)
HOURS = 6 * 3600.0


def note(ratios: Ratios, title: str, report: DayReport) -> None:
    """Note the hours of the day, which is virtual: no machine makes them longer."""
    for share in (0.9, 1.0):
        hours = report.until(share, report.images) / 3600
        ratios.note_cost(f"day, {title}, hours to {share:.0%}", hours)


def play(
    fleet: FleetShape, day: DayShape, registries: Sequence[SimulatedHost] | None = None
) -> DayReport:
    began = time.process_time()
    made = made_fleet(fleet)

    async def run() -> DayReport:
        return await GlibcDay(made, day, registries or thirty_registries()).play()

    report = run_in_virtual_time(run())
    took = time.process_time() - began
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    _tell(f"\n{fleet.images} images, {day.builders} builders: {took:.1f} s, up to {memory} MiB")
    for name, times in (("images", report.images), ("workloads", report.workloads)):
        hours = ", ".join(
            f"{share:.0%} {report.until(share, times) / 3600:.2f} h" for share in SHARES
        )
        _tell(f"  {name}: {hours}")
    _tell(
        f"  {report.builds} builds and {report.rebases} rebases, {report.retries} of them again;"
        f" {report.unreached} images are not reached"
    )
    spent = ", ".join(f"{what} {seconds / 3600:.1f} h" for what, seconds in report.spent.items())
    _tell(f"  an image {spent} (of all images together)")
    return report


@pytest.mark.parametrize("images", SIZES)
@pytest.mark.parametrize("builders", [2, 100])
def test_time_by_size(images: int, builders: int, ratios: Ratios) -> None:
    began = time.process_time()
    report = play(FleetShape(images=images), DayShape(builders=builders))
    used = (time.process_time() - began) / loop_seconds()
    title = f"{images} images, {builders} builders"
    note(ratios, title, report)
    ratios.note_cost(f"day, {title}, an image in turns of a bare loop", 1000 * used / images)

    for registry in report.registries[:10]:
        _tell(
            f"  {registry.name}: {registry.asked.total()} requests, {registry.refused} refused,"
            f" at most {registry.fullest:.0%} of a limit"
        )
    assert report.unreached < 0.02 * images


@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.9])
def test_time_by_share_of_rebases(share: float, ratios: Ratios) -> None:
    report = play(FleetShape(images=10_000, rebased=share), DayShape(builders=20))
    note(ratios, f"{share:.0%} rebased", report)
    assert report.rebases >= 0.8 * share * 10_000


@pytest.mark.parametrize("again", [600.0, 3600.0, 4 * 3600.0])
def test_bases_that_are_published_again(again: float) -> None:
    report = play(FleetShape(images=10_000), DayShape(builders=20, published=(0.0, again)))
    assert report.builds - report.retries <= 2.06 * 10_000


@pytest.mark.parametrize(
    "waves",
    [
        None,
        WavesShape(canary=0.05),
        WavesShape(canary=0.05, rollouts=10),
        WavesShape(canary=0.05, breaks=0.3),
        WavesShape(canary=0.0, stop_at=0.1, breaks=1.0),
    ],
)
def test_time_by_rules_of_waves(waves: WavesShape | None) -> None:
    report = play(FleetShape(images=2_000), DayShape(builders=50, waves=waves))
    phases = Counter(one.status.phase for one in report.waves.values())
    levels = max((one.status.levels for one in report.waves.values()), default=0)
    found = ", ".join(f"{count} {phase}" for phase, count in phases.items())
    _tell(f"  {waves}: {found or 'no Waves'}; {levels} levels; {report.kept_back} kept back")


@pytest.mark.parametrize("storms", [False, True])
def test_a_registry_that_refuses_for_six_hours(*, storms: bool) -> None:
    registries = thirty_registries()
    if storms:
        registries[9] = StormingHost(registries[9].name, (), drawn(1), ends=HOURS)
    play(FleetShape(images=10_000), DayShape(builders=100), registries)


def _tell(text: str) -> None:
    print(text)  # noqa: T201
