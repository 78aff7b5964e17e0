"""Ticks: loops that look again and again have their turns together."""

from hypothesis import given
from hypothesis import strategies as st

from upwell.machine.clock import until_tick

PERIODS = st.sampled_from([0.5, 1.0, 2.0])
MOMENTS = st.floats(0, 10**7)


@given(PERIODS, MOMENTS)
def test_the_next_tick_is_a_whole_multiple_of_the_period(period: float, moment: float) -> None:
    tick = (moment + until_tick(period, lambda: moment)) / period
    assert abs(tick - round(tick)) < 1e-6


@given(PERIODS, MOMENTS)
def test_a_tick_comes_within_a_period_and_never_at_once(period: float, moment: float) -> None:
    assert period / 100 < until_tick(period, lambda: moment) <= period * 1.01


def test_who_wakes_a_little_early_sleeps_for_a_whole_period_again() -> None:
    assert until_tick(1.0, lambda: 41.9999) > 1.0


@given(MOMENTS)
def test_a_longer_period_has_its_ticks_among_those_of_a_shorter(moment: float) -> None:
    long = moment + until_tick(2.0, lambda: moment)
    assert abs(long - round(long)) < 1e-6
