"""Durations as kubectl writes them; the cases are those of Kubernetes' own tests."""

from datetime import timedelta

import pytest

from upwell.formats.human_duration import human_duration


@pytest.mark.parametrize(
    ("duration", "text"),
    [
        (timedelta(seconds=-5), "0s"),
        (timedelta(milliseconds=900), "0s"),
        (timedelta(seconds=70), "70s"),
        (timedelta(seconds=119), "119s"),
        (timedelta(minutes=2), "2m"),
        (timedelta(seconds=190), "3m10s"),
        (timedelta(minutes=9, seconds=59), "9m59s"),
        (timedelta(minutes=10, seconds=59), "10m"),
        (timedelta(minutes=45, seconds=10), "45m"),
        (timedelta(minutes=179, seconds=59), "179m"),
        (timedelta(hours=3), "3h"),
        (timedelta(hours=7, minutes=59), "7h59m"),
        (timedelta(hours=8, minutes=59), "8h"),
        (timedelta(hours=47, minutes=59), "47h"),
        (timedelta(hours=48), "2d"),
        (timedelta(hours=49, minutes=59), "2d1h"),
        (timedelta(days=7, hours=23), "7d23h"),
        (timedelta(days=8, hours=23), "8d"),
        (timedelta(days=2 * 365 - 1, hours=23), "729d"),
        (timedelta(days=2 * 365), "2y"),
        (timedelta(days=2 * 365 + 31, hours=23), "2y31d"),
        (timedelta(days=8 * 365 - 1), "7y364d"),
        (timedelta(days=8 * 365 + 364), "8y"),
    ],
)
def test_a_duration_has_the_units_that_tell_enough(duration: timedelta, text: str) -> None:
    assert human_duration(duration) == text
