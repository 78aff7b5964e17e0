"""Windows and freezes by dates and by cron, in a time zone, over the change to summer time."""

from datetime import UTC, datetime

import pytest
from tests.support.promotion.planned_pipeline import pipeline

from upwell.api.pipeline import Stage, Window
from upwell.policy.promotion.windows import bar, span_of

NIGHT = {"cron": "0 22 * * 1-4", "duration_seconds": 4 * 3600, "time_zone": "Europe/Berlin"}


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def window(**changes: object) -> Window:
    return Window.model_validate(NIGHT | changes)


@pytest.mark.parametrize(
    ("now", "open_", "changes"),
    [
        ("2016-02-18T20:59", False, "2016-02-18T21:00"),  # Thursday, UTC+1
        ("2016-02-18T21:00", True, "2016-02-19T01:00"),
        ("2016-02-19T00:59", True, "2016-02-19T01:00"),
        ("2016-02-19T01:00", False, "2016-02-22T21:00"),
        ("2016-07-18T20:00", True, "2016-07-19T00:00"),  # Monday, UTC+2
    ],
)
def test_a_window_by_cron_is_in_its_zone(now: str, *, open_: bool, changes: str) -> None:
    span = span_of(window(), at(now))
    assert (span.now, span.changes) == (open_, at(changes))


def test_dates_bound_what_a_cron_says() -> None:
    bounded = window(start=at("2016-02-18T21:30"), end=at("2016-02-22T22:00"))
    assert span_of(bounded, at("2016-02-18T21:10")).changes == at("2016-02-18T21:30")
    assert span_of(bounded, at("2016-02-18T21:30")).now
    assert span_of(bounded, at("2016-02-22T21:30")).changes == at("2016-02-22T22:00")
    after = span_of(bounded, at("2016-02-22T22:00"))
    assert (after.now, after.changes) == (False, None)
    assert span_of(bounded, at("2016-02-20T00:00")).changes == at("2016-02-22T21:00")


def test_the_next_of_several_windows_is_told() -> None:
    stage = Stage(name="live", windows=(window(), window(cron="0 6 * * 0")))
    found = bar(pipeline(stage), stage, (), at("2016-02-20T12:00"))
    assert found is not None
    assert (found.message, found.until) == ("the next window", at("2016-02-21T05:00"))
    assert bar(pipeline(stage), stage, (), at("2016-02-21T05:00")) is None


def test_a_window_that_never_opens_again_says_what_to_do() -> None:
    stage = Stage(
        name="live", windows=(Window(start=at("2016-01-01T00:00"), end=at("2016-01-02T00:00")),)
    )
    found = bar(pipeline(stage), stage, (), at("2016-02-18T12:00"))
    assert found is not None
    assert found.until is None
    assert "no further window opens" in found.message
    assert "--bypass" in found.message


@pytest.mark.parametrize("where", ["stage", "pipeline"])
def test_a_freeze_bars_in_the_midst_of_a_window(where: str) -> None:
    freezes = (window(cron="0 23 * * *", duration_seconds=600, reason="backup"),)
    stage = Stage(name="live", windows=(window(),), freezes=freezes if where == "stage" else ())
    line = pipeline(stage, freezes=freezes if where == "pipeline" else ())
    assert bar(line, stage, (), at("2016-02-18T21:59")) is None
    found = bar(line, stage, (), at("2016-02-18T22:05"))
    assert found is not None
    assert (found.message, found.until) == ("a freeze (backup)", at("2016-02-18T22:10"))


def test_what_cannot_be_understood_bars() -> None:
    stage = Stage(name="live", windows=(window(time_zone="Mars/Olympus"),))
    found = bar(pipeline(stage), stage, (), at("2016-02-18T12:00"))
    assert found is not None
    assert "Mars/Olympus" in found.message
