"""The time of a process: it follows the machine's clock, and not its jumps."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from upwell import machine as package
from upwell.machine.clock import ADOPTED_AFTER, SteadyClock

START = 1_800_000_000.0
DAY = 86_400.0


class MachineClock:
    """A wall clock that can be set, and the time that passes."""

    def __init__(self) -> None:
        self.wall = START
        self.passed = 1000.0

    def sleep(self, seconds: float) -> None:
        self.wall += seconds
        self.passed += seconds

    def steady(self) -> SteadyClock:
        return SteadyClock(lambda: self.wall, lambda: self.passed)


def at(seconds: float) -> datetime:
    return datetime.fromtimestamp(START + seconds, UTC)


@pytest.mark.parametrize("jump", [DAY, -DAY, 10.0, -10.0])
def test_a_jump_is_noticed_and_not_followed(jump: float) -> None:
    machine = MachineClock()
    clock = machine.steady()
    machine.sleep(5)
    assert clock.observe() is None

    machine.wall += jump
    machine.sleep(1)
    found = clock.observe()

    assert found is not None
    assert found.by == timedelta(seconds=jump)
    assert found.adopted_at == at(6) + ADOPTED_AFTER
    assert clock.now() == at(6)
    machine.sleep(2)
    assert clock.observe() == found
    assert clock.now() == at(8)


def test_a_clock_that_is_put_right_again_is_no_jump_any_more() -> None:
    machine = MachineClock()
    clock = machine.steady()
    machine.wall += DAY
    assert clock.observe() is not None

    machine.wall -= DAY
    machine.sleep(1)

    assert clock.observe() is None
    assert clock.now() == at(1)


@pytest.mark.parametrize("jump", [DAY, -DAY])
def test_a_jump_that_stands_for_an_hour_is_believed(jump: float) -> None:
    machine = MachineClock()
    clock = machine.steady()
    machine.wall += jump
    assert clock.observe() is not None

    machine.sleep(3599)
    assert clock.observe() is not None
    assert clock.now() == at(3599)
    machine.sleep(1)

    assert clock.observe() is None
    assert clock.now() == at(3600 + jump)
    machine.sleep(1)
    assert clock.observe() is None


def test_another_jump_begins_the_hour_anew() -> None:
    machine = MachineClock()
    clock = machine.steady()
    machine.wall += DAY
    clock.observe()
    machine.sleep(3000)
    machine.wall += 60
    assert clock.observe() is not None

    machine.sleep(3599)
    assert clock.observe() is not None
    machine.sleep(1)
    assert clock.observe() is None


@pytest.mark.parametrize("step", [2.0, -2.0, 0.3])
def test_a_small_difference_is_followed_without_a_leap(step: float) -> None:
    machine = MachineClock()
    clock = machine.steady()
    machine.wall += step
    before = clock.now()
    for _ in range(60):
        assert clock.observe() is None
        machine.sleep(1)
        passed = (clock.now() - before).total_seconds()
        assert 0.89 < passed < 1.11
        before = clock.now()

    assert clock.now() == at(60 + step)


def test_a_drift_of_any_length_is_followed() -> None:
    machine = MachineClock()
    clock = machine.steady()
    for _ in range(1000):
        machine.sleep(1)
        machine.wall += 0.01
        assert clock.observe() is None

    assert abs(clock.now().timestamp() - machine.wall) < 0.1


def test_a_stop_between_two_readings_is_no_jump() -> None:
    machine = MachineClock()
    stops = [60.0]

    def wall() -> float:
        if stops and machine.passed > 1000:
            machine.sleep(stops.pop())
        return machine.wall

    clock = SteadyClock(wall, lambda: machine.passed)
    machine.sleep(1)

    assert clock.observe() is None
    assert clock.now() == at(61)


def test_what_is_old_is_certain_only_some_minutes_after_start_and_jump() -> None:
    machine = MachineClock()
    clock = machine.steady()
    assert not clock.is_certain()
    machine.sleep(600)
    clock.observe()
    assert clock.is_certain()

    machine.wall += DAY
    clock.observe()
    machine.sleep(700)
    clock.observe()
    assert not clock.is_certain(), "as long as it lasts"
    machine.wall -= DAY
    clock.observe()
    assert not clock.is_certain()
    machine.sleep(600)
    assert clock.is_certain()


@pytest.mark.parametrize("jump", [DAY, -DAY, 0.0])
def test_a_file_of_before_and_after_a_jump_is_as_old_as_it_is(jump: float) -> None:
    machine = MachineClock()
    clock = machine.steady()
    before = machine.wall
    machine.sleep(10)
    machine.wall += jump
    after = machine.wall
    machine.sleep(5)
    assert (clock.placed(before), clock.placed(after)) == (START, START + 10)


def test_a_file_of_the_future_counts_as_now() -> None:
    machine = MachineClock()
    clock = machine.steady()
    machine.wall -= DAY
    assert clock.placed(START + 3 * DAY) == START


def test_nothing_reads_the_clock_of_the_machine_but_this_module() -> None:
    source = Path(package.__file__).parent.parent
    reading = re.compile(r"\btime\.time\(\)|\bdatetime\.(now|utcnow|today)\(")
    readers = [
        str(place.relative_to(source))
        for place in source.rglob("*.py")
        if reading.search(place.read_text())
    ]
    assert readers == ["cli/demo/load.py"]  # a client, which measures
