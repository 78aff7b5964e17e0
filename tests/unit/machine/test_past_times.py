"""Times that were written under a clock that was ahead: they count as when they are first seen."""

from datetime import UTC, datetime, timedelta

from tests.support.clocks import ManualTime

from upwell.machine.clock import PastTimes

START = datetime(2026, 1, 1, tzinfo=UTC)


def test_a_time_in_the_past_is_itself() -> None:
    assert PastTimes(ManualTime(START))(START - timedelta(1)) == START - timedelta(1)


def test_a_time_in_the_future_counts_as_when_it_is_first_seen_and_stays_so() -> None:
    clock = ManualTime(START)
    past, tomorrow = PastTimes(clock), START + timedelta(1)
    assert past(tomorrow) == START

    clock.now += timedelta(hours=1)
    assert past(tomorrow) == START
    clock.now += timedelta(days=3)
    assert past(tomorrow) == START


def test_no_time_is_in_the_future_of_a_clock_that_was_set_back() -> None:
    clock = ManualTime(START)
    past, tomorrow = PastTimes(clock), START + timedelta(1)
    past(tomorrow)
    clock.now -= timedelta(hours=5)

    assert past(tomorrow) == clock.now
