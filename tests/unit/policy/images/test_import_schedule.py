from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upwell.api.image import (
    ImageStream,
    ImageStreamSpec,
    ImportMode,
    ImportPolicy,
    ImportState,
    TagReference,
)
from upwell.api.meta import ObjectMeta, ObjectReference
from upwell.policy.images.schedule import (
    AT_ONCE,
    INTERVAL_ANNOTATION,
    ImportSchedule,
    InvalidDurationError,
    due_at,
    interval_fault,
    parse_duration,
    spread_overdue,
)

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SCHEDULE = ImportSchedule()


def tag(**annotations: str) -> TagReference:
    source = ObjectReference(kind="DockerImage", name="vendor.example/debian:11")
    return TagReference(name="11", from_=source, annotations=annotations)


def stream(*tags: TagReference, **annotations: str) -> ImageStream:
    return ImageStream(
        metadata=ObjectMeta(name="debian", annotations=annotations),
        spec=ImageStreamSpec(tags=tags),
    )


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30s", 30), ("1h30m", 5400), ("250ms", 0.25), ("1.5m", 90), ("2d", 172800)],
)
def test_durations_are_read(text: str, seconds: float) -> None:
    assert parse_duration(text).total_seconds() == seconds


@pytest.mark.parametrize("text", ["", "5", "m", "5 m", "-5m", "5y", "1m;2"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(InvalidDurationError, match="15m"):
        parse_duration(text)


def test_the_tags_interval_wins_over_the_streams_and_that_over_the_default() -> None:
    own = tag(**{INTERVAL_ANNOTATION: "5s"})
    whole = stream(own, tag(), **{INTERVAL_ANNOTATION: "1m"})
    assert SCHEDULE.interval_of(whole, own) == timedelta(seconds=5)
    assert SCHEDULE.interval_of(whole, tag()) == timedelta(minutes=1)
    assert SCHEDULE.interval_of(stream(tag()), tag()) == timedelta(minutes=15)


def test_a_wrong_interval_is_reported_and_the_default_holds() -> None:
    wrong = stream(tag(), **{INTERVAL_ANNOTATION: "soon"})
    fault = interval_fault(wrong)
    assert fault is not None
    assert "'soon'" in fault
    assert SCHEDULE.interval_of(wrong, tag()) == SCHEDULE.interval
    assert interval_fault(stream(tag(**{INTERVAL_ANNOTATION: "1m"}))) is None


@given(st.integers(1, 10_000), st.floats(0, 1), st.none() | st.floats(0, 10_000))
def test_retries_neither_storm_nor_stop(failures: int, jitter: float, wanted: float | None) -> None:
    wait = SCHEDULE.after_failure(failures, wanted, NOW, jitter) - NOW
    assert wait >= SCHEDULE.first_retry / 2
    assert wait >= timedelta(seconds=wanted or 0)
    spread = 1 + SCHEDULE.spread
    assert wait <= max(SCHEDULE.longest_retry, timedelta(seconds=(wanted or 0) * spread))


@given(st.floats(0, 1))
def test_checks_are_spread_around_the_interval(jitter: float) -> None:
    interval = timedelta(minutes=10)
    wait = SCHEDULE.after_success(interval, NOW, jitter) - NOW
    assert timedelta(minutes=9) <= wait <= timedelta(minutes=11)


def test_a_tag_is_due_at_once_when_new_changed_or_asked_for_again() -> None:
    at_once = datetime.min.replace(tzinfo=UTC)
    known = ImportState(source="vendor.example/debian:11", next_check_time=NOW, generation=1)
    assert due_at(tag(), None, NOW) == at_once
    assert due_at(tag(), known, NOW) == NOW
    elsewhere = known.model_copy(update={"source": "vendor.example/debian:10"})
    assert due_at(tag(), elsewhere, NOW) == at_once
    again = tag().model_copy(update={"generation": 2})
    assert due_at(again, known, NOW) == at_once
    assert due_at(again, known.model_copy(update={"generation": 2}), NOW) == NOW
    assert due_at(TagReference(name="local"), None, NOW) is None


@pytest.mark.parametrize("text", ["99999999999999d", "9" * 400 + "s", "0s", "1ms"])
def test_no_interval_stops_or_floods_a_registry(text: str) -> None:
    wait = SCHEDULE.interval_of(stream(tag(**{INTERVAL_ANNOTATION: text})), tag())
    assert timedelta(seconds=1) <= wait <= timedelta(days=3650)
    own = tag(**{INTERVAL_ANNOTATION: text})
    assert timedelta(seconds=1) <= SCHEDULE.interval_of(stream(own), own) <= timedelta(days=3650)
    assert ImportSchedule(timedelta(0)).interval_of(stream(tag()), tag()) == timedelta(seconds=1)


def test_another_wish_for_the_same_source_is_another_question() -> None:
    known = ImportState(source="vendor.example/debian:11", next_check_time=NOW, generation=1)
    legacy = ImportPolicy(import_mode=ImportMode.LEGACY)
    assert due_at(tag().model_copy(update={"import_policy": legacy}), known, NOW) == AT_ONCE
    chosen = tag(**{"upwell.dev/tag-selection": "semver:>=1"})
    assert due_at(chosen, known, NOW) == AT_ONCE
    asked = known.model_copy(update={"request": "semver:>=1"})
    assert due_at(chosen, asked, NOW) == NOW


@given(st.floats(0, 1), st.integers(0, 100_000))
def test_checks_missed_while_no_server_ran_are_spread(place: float, missed: int) -> None:
    started, interval = NOW, timedelta(minutes=15)
    due = spread_overdue(NOW - timedelta(seconds=missed + 1), started, interval, place)
    assert started <= due <= started + timedelta(minutes=5)
    short = spread_overdue(NOW - timedelta(days=1), started, timedelta(seconds=2), place)
    assert short <= started + timedelta(seconds=2)


def test_what_is_not_overdue_at_the_start_keeps_its_time() -> None:
    later = NOW + timedelta(seconds=1)
    assert spread_overdue(later, NOW, timedelta(minutes=15), 0.5) == later
    assert spread_overdue(AT_ONCE, NOW, timedelta(minutes=15), 0.5) == AT_ONCE


def test_a_check_that_was_made_under_a_clock_ahead_is_overdue() -> None:
    tomorrow = NOW + timedelta(days=1)
    ahead = ImportState(
        source="vendor.example/debian:11",
        generation=1,
        last_check_time=tomorrow,
        next_check_time=tomorrow + timedelta(minutes=15),
    )
    due = due_at(tag(), ahead, NOW)
    assert due is not None
    assert due < NOW
    at = spread_overdue(due, NOW, timedelta(minutes=15), 0.5)
    assert NOW < at <= NOW + timedelta(minutes=5)

    never = ahead.model_copy(update={"next_check_time": None})
    assert due_at(tag(), never, NOW) is None, "nothing is scheduled"
