"""Schedules of CronJobs: five fields as Kubernetes reads them, and a time zone.

Source: batch/v1 CronJobSpec; the standard parser of github.com/robfig/cron, which knows no `7` for
Sunday.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from upwell.api.values.faults import Fault
from upwell.api.values.schedules import (
    InvalidScheduleError,
    UnknownTimeZoneError,
    check_schedule,
    parse_zone,
)

_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_DAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]
_FIELDS: tuple[tuple[str, int, int, tuple[str, ...], int], ...] = (
    ("minute", 0, 59, (), 0),
    ("hour", 0, 23, (), 0),
    ("day of month", 1, 31, (), 0),
    ("month", 1, 12, tuple(_MONTHS), 1),
    ("day of week", 0, 6, tuple(_DAYS), 0),
)
"""Name, least and most, words, and the number of the first word."""
_MAX_SCHEDULE = 1024
_ZONE = re.compile(r"(CRON_)?TZ=")


def schedule_faults(spec: Mapping[str, Any], path: str) -> Iterator[Fault]:
    """Yield what is wrong with schedule and time zone of a CronJob's spec."""
    schedule, zone = spec.get("schedule"), spec.get("timeZone")
    if not schedule:
        yield Fault.required(f"{path}.schedule")
    elif isinstance(schedule, str) and (why := _schedule_problem(schedule)):
        yield Fault.invalid(f"{path}.schedule", schedule, why)
    if isinstance(zone, str):
        yield from _zone_faults(zone, f"{path}.timeZone")


def _zone_faults(zone: str, path: str) -> Iterator[Fault]:
    if not zone:
        yield Fault.invalid(path, zone, "must be nil or non-empty string")
    elif zone.lower() == "local":
        yield Fault.invalid(path, zone, "timeZone must be an explicit time zone")
    else:
        try:
            parse_zone(zone)
        except UnknownTimeZoneError as error:
            yield Fault.invalid(path, zone, str(error))


def _schedule_problem(schedule: str) -> str:
    if len(schedule) > _MAX_SCHEDULE:
        return f"must be no more than {_MAX_SCHEDULE} characters"
    if _ZONE.match(schedule):
        return "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"
    if schedule.startswith("@"):
        return _descriptor_problem(schedule)
    parts = schedule.split()
    if len(parts) != len(_FIELDS):
        return f"expected exactly {len(_FIELDS)} fields, found {len(parts)}"
    for part, (name, least, most, words, first) in zip(parts, _FIELDS, strict=True):
        for piece in part.split(","):
            if not _is_piece(
                piece, least, most, {word: at for at, word in enumerate(words, first)}
            ):
                return f"{piece!r} is no {name} ({least}-{most})"
    return ""


def _descriptor_problem(schedule: str) -> str:
    try:
        check_schedule(schedule)
    except InvalidScheduleError:
        return "unrecognized descriptor"
    return ""


def _is_piece(piece: str, least: int, most: int, words: Mapping[str, int]) -> bool:
    """Return True for `*`, a number, a range, and each with a step."""
    span, slash, step = piece.partition("/")
    if slash and not (step.isascii() and step.isdecimal() and int(step[:4]) > 0):
        return False
    if span in {"*", "?"}:
        return True
    start, dash, end = span.partition("-")
    numbers = [_number(text, words) for text in ((start, end) if dash else (start,))]
    if any(number is None or not least <= number <= most for number in numbers):
        return False
    return numbers == sorted(number for number in numbers if number is not None)


def _number(text: str, words: Mapping[str, int]) -> int | None:
    if text.lower() in words:
        return words[text.lower()]
    return int(text[:4]) if text.isascii() and text.isdecimal() else None
