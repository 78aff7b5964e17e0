"""Rules of times by the clock beyond their types: windows, freezes, schedules."""

from collections.abc import Iterator, Sequence

from upwell.api.pipeline import Window
from upwell.api.values.faults import Fault
from upwell.api.values.schedules import (
    InvalidScheduleError,
    UnknownTimeZoneError,
    check_schedule,
    parse_zone,
)


def windows_faults(windows: Sequence[Window], path: str) -> Iterator[Fault]:
    """Yield every fault of a list of windows, each of which says a time."""
    for at, window in enumerate(windows):
        if window.cron is None and window.start is None and window.end is None:
            yield Fault(f"{path}[{at}]", "set start or end, or cron with durationSeconds")
        yield from window_faults(window, f"{path}[{at}]")


def window_faults(window: Window, path: str) -> Iterator[Fault]:
    """Yield every fault of a window."""
    dated = window.start is not None or window.end is not None
    if window.cron is not None and dated:
        yield Fault(path, "cron and dates exclude each other")
    if window.start is not None and window.end is not None and window.start >= window.end:
        yield Fault(f"{path}.end", "must be after start")
    if (window.cron is None) != (window.duration_seconds is None):
        yield Fault(f"{path}.durationSeconds", "cron and durationSeconds belong together")
    yield from schedule_faults(window.cron, window.time_zone, path, "cron")


def schedule_faults(schedule: str | None, zone: str, path: str, field: str) -> Iterator[Fault]:
    """Yield every fault of a cron expression in `field`, and of its time zone."""
    try:
        parse_zone(zone)
    except UnknownTimeZoneError as error:
        yield Fault(f"{path}.timeZone", str(error))
    if schedule is None:
        return
    try:
        check_schedule(schedule)
    except InvalidScheduleError as error:
        yield Fault(f"{path}.{field}", str(error))
