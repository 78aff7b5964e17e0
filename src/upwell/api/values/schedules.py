"""Cron expressions and time zones, as objects name them."""

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

    The schedule is that of `local`'s time zone. Raises InvalidScheduleError.
    """
    text = _MACROS.get(schedule.strip(), schedule)
    try:
        # A time is due from its first moment on, and "before" is meant strictly.
        before = CronSim(text, local + timedelta(seconds=1), reverse=True)
        return next(before, None), next(CronSim(text, local), None)
    except CronSimError as error:
        raise InvalidScheduleError(f"schedule {schedule!r}: {error}") from error


def check_schedule(schedule: str) -> None:
    """Raise InvalidScheduleError for what is no cron expression."""
    times_around(schedule, _ANY_TIME)
