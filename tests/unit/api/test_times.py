"""Times as objects have them in texts."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from upwell.api.meta import format_time, parse_time


@pytest.mark.parametrize("time", [
    datetime(2026, 1, 1, tzinfo=UTC),
    datetime(2026, 1, 1, 12, 0, 0, 250, tzinfo=timezone(timedelta(hours=2))),
])  # fmt: skip
def test_a_time_survives_its_text(time: datetime) -> None:
    assert parse_time(format_time(time)) == time
    assert format_time(time).endswith("Z")


@pytest.mark.parametrize("value", ["", "soon", "held", "2026-01-01T00:00:00", None, 1.5])
def test_a_time_without_its_zone_is_none(value: object) -> None:
    assert parse_time(value) is None
