"""Cron expressions and time zones, as objects name them (github.com/robfig/cron)."""

import re
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

_MACROS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = rf"([0-9]+(?:\.[0-9]+)?)({'|'.join(_SECONDS)})"
_PARTS = re.compile(_PART)
_EVERY = re.compile(rf"@every ((?:{_PART})+)")
_LONGEST = 2**63 / 1e9
"""Seconds of the longest time that Go can say."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ANY_TIME = datetime(2024, 1, 1, tzinfo=UTC)


class UnknownTimeZoneError(ValueError):
    """There is no time zone of that name."""

    def __init__(self, name: str) -> None:
        super().__init__(f"timeZone {name!r} is not known")


class InvalidScheduleError(ValueError):
    """The text is no cron expression."""


def parse_zone(name: str) -> ZoneInfo:
    """Return a time zone by its IANA name; raises UnknownTimeZoneError."""
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError):
        raise UnknownTimeZoneError(name) from None


def times_around(schedule: str, local: datetime) -> tuple[datetime | None, datetime | None]:
    """Return the last time of a schedule up to `local`, and the first after it.

    The schedule is that of `local`'s time zone; `@every 1h30m` is counted from 1970 on.
    Raises InvalidScheduleError.
    """
    if (interval := _interval(schedule.strip())) is not None:
        last = _EPOCH + (local - _EPOCH) // interval * interval
        return last, last + interval
    text = _MACROS.get(schedule.strip(), schedule).replace("?", "*")
    try:
        # A time is due from its first moment on, and "before" is meant strictly.
        before = CronSim(text, local + timedelta(seconds=1), reverse=True)
        return next(before, None), next(CronSim(text, local), None)
    except CronSimError as error:
        raise InvalidScheduleError(f"schedule {schedule!r}: {error}") from error


def check_schedule(schedule: str) -> None:
    """Raise InvalidScheduleError for what is no cron expression."""
    times_around(schedule, _ANY_TIME)


def _interval(schedule: str) -> timedelta | None:
    """Return the time between two times of `@every LENGTH`: whole seconds, one at least."""
    if (match := _EVERY.fullmatch(schedule)) is None:
        return None
    seconds = sum(float(number) * _SECONDS[unit] for number, unit in _PARTS.findall(match[1]))
    if seconds > _LONGEST:
        raise InvalidScheduleError(f"schedule {schedule!r}: longer than {_LONGEST / 3600:.0f}h")
    return timedelta(seconds=max(int(seconds), 1))
