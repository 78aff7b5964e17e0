"""Backoff: ever longer waits, within bounds."""

from hypothesis import given
from hypothesis import strategies as st

from upwell.machine.backoff import Backoff


@given(st.integers(1, 10_000), st.floats(0, 1, exclude_max=True))
def test_backoff_stays_between_its_bounds(failures: int, jitter: float) -> None:
    backoff = Backoff(first=0.5, longest=300, jitter=lambda: jitter)

    assert 0.25 <= backoff.delay(failures) <= 300


def test_keys_that_fail_together_part() -> None:
    draws = iter([0.0, 0.9])
    backoff = Backoff(first=1, jitter=lambda: next(draws))

    assert backoff.delay(3) != backoff.delay(3)
