"""Soak: time counts that was watched in one run of the process, and in which all was well."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from upwell.policy.promotion.verification.soak import LONGEST_GAP, Soak, SoakLook, credited

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
FIRST = SoakLook(NOW, 100, "", NOW)


def later(seconds: float, doubt: str = "", well: float = 0) -> SoakLook:
    at = NOW + timedelta(seconds=seconds)
    return SoakLook(at, 100 + seconds, doubt, NOW + timedelta(seconds=well))


def test_time_counts_between_two_looks_at_which_all_is_well() -> None:
    assert credited(FIRST, later(10)) == 10
    assert credited(None, later(10)) == 0


@pytest.mark.parametrize(
    ("before", "now"),
    [
        pytest.param(FIRST, later(10, doubt="0 of 1 replicas"), id="wrong now"),
        pytest.param(replace(FIRST, doubt="router"), later(10), id="wrong before"),
        pytest.param(FIRST, later(10, well=1), id="in between"),
        pytest.param(FIRST, later(LONGEST_GAP + 1), id="nobody looked"),
        pytest.param(FIRST, later(-5), id="never"),
    ],
)
def test_no_other_time_does(before: SoakLook, now: SoakLook) -> None:
    assert credited(before, now) == 0


def test_a_clock_that_is_set_counts_for_nothing() -> None:
    assert credited(FIRST, replace(later(86_400), elapsed=110)) == 10
    assert credited(FIRST, replace(later(-86_400), elapsed=110)) == 10


@pytest.mark.parametrize(
    ("seconds", "served", "shown"),
    [(120, 47, 36), (120, 120, 120), (5, 2.9, 2), (86_400, 3599, 3540), (7, 7.2, 7), (0, 3, 0)],
)
def test_it_is_shown_in_steps_so_that_it_is_rarely_written(
    seconds: int, served: float, shown: int
) -> None:
    soak = Soak(seconds, NOW, served)
    assert soak.progress == shown
    assert soak.text == f"soaked {shown} s of {seconds} s"


def test_it_ends_later_by_what_did_not_count() -> None:
    half = NOW + timedelta(seconds=300)
    assert Soak(600, NOW, 300).end(half) == NOW + timedelta(seconds=600)
    assert Soak(600, NOW, 100).end(half) == NOW + timedelta(seconds=800)
    assert Soak(600, None).end(half) == half + timedelta(seconds=600)
