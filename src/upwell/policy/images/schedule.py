"""Schedule of imports: when a tag's upstream is asked again, and how long a failing one waits."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from upwell.api.image import ImageStream, ImportState, RepositoryImport, TagReference
from upwell.policy.images.checks import ImportCheck
from upwell.policy.images.import_request import request_of

INTERVAL_ANNOTATION = "upwell.dev/import-interval"
"""On an ImageStream, or on one of its tags: how often its scheduled imports look upstream."""

AT_ONCE = datetime.min.replace(tzinfo=UTC)
"""Due before everything that has a time."""

OVERDUE = AT_ONCE + timedelta(days=1)
"""Due, after what is due at once."""

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|s|m|h|d))+")
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_MIN_INTERVAL = timedelta(seconds=1)
_MAX_DURATION = timedelta(days=3650)
_MAX_DOUBLINGS = 32
_CATCH_UP = timedelta(minutes=5)
"""The longest time over which overdue checks are spread after a start."""


class InvalidDurationError(ValueError):
    """The text is not a duration, or is one that no wait should have."""

    def __init__(self, text: str) -> None:
        super().__init__(f"{text!r} is not a duration such as 30s, 15m or 1h30m")


def parse_duration(text: str) -> timedelta:
    """Parse `1h30m`, `90s`, …, up to ten years; raises InvalidDurationError."""
    if _DURATION.fullmatch(text) is None:
        raise InvalidDurationError(text)
    seconds = sum(float(n) * _UNITS[unit] for n, unit in _PART.findall(text))
    if seconds > _MAX_DURATION.total_seconds():
        raise InvalidDurationError(text)
    return timedelta(seconds=seconds)


@dataclass(frozen=True, slots=True)
class ImportSchedule:
    """Intervals of scheduled imports and of retries."""

    interval: timedelta = timedelta(minutes=15)
    spread: float = 0.1
    """Part of an interval by which checks are moved at random, so that streams do not march."""
    first_retry: timedelta = timedelta(seconds=2)
    longest_retry: timedelta = timedelta(minutes=5)

    def interval_of(self, stream: ImageStream, tag: TagReference) -> timedelta:
        """Return the tag's interval: its annotation, the stream's, the default.

        A wrong annotation counts as absent here; `interval_fault` reports it.
        """
        wanted = _interval(tag.annotations) or _interval(stream.annotations) or self.interval
        return max(wanted, _MIN_INTERVAL)

    def moved[S: (ImportState, RepositoryImport)](self, state: S, interval: timedelta | None) -> S:
        """Return `state` with its next check moved, if it was planned with another interval.

        `interval` is None where nothing is scheduled any more. A failing import keeps its next try.
        """
        wanted = None if interval is None else interval.total_seconds()
        if state.failures or state.last_check_time is None or state.interval == wanted:
            return state
        again = None if interval is None else state.last_check_time + interval
        return state.model_copy(update={"interval": wanted, "next_check_time": again})

    def after_success(self, interval: timedelta, now: datetime, chance: float) -> datetime:
        """Return the next check: the interval, moved by `chance` (0 to 1) up to `spread`."""
        return now + interval * (1 + self.spread * (2 * chance - 1))

    def after_failure(
        self, failures: int, wanted: float | None, now: datetime, chance: float
    ) -> datetime:
        """Return the next try after this many failures in a row.

        Doubles up to `longest_retry`, up to half of it taken away at random; `wanted` is what the
        registry asked for, in seconds, and is never undercut: a part is added at random, since it
        asks the same of everyone.
        """
        doubled = self.first_retry * 2.0 ** min(failures - 1, _MAX_DOUBLINGS)
        delay = min(doubled, self.longest_retry) * (1 - chance / 2)
        asked = timedelta(seconds=(wanted or 0) * (1 + self.spread * chance))
        return now + max(delay, asked)


def interval_fault(stream: ImageStream) -> str | None:
    """Say which interval annotation is not a duration, if one is not."""
    for where, annotations in (
        ("the stream", stream.annotations),
        *((f"tag {tag.name}", tag.annotations) for tag in stream.spec.tags),
    ):
        text = annotations.get(INTERVAL_ANNOTATION)
        if text and _interval(annotations) is None:
            return (
                f"{INTERVAL_ANNOTATION} of {where}: {text!r} is not a duration above 0, such as 15m"
            )
    return None


def due_at(
    tag: TagReference, state: ImportState | None, now: datetime, check: ImportCheck | None = None
) -> datetime | None:
    """Return when the tag is to be imported next; None: not until something changes.

    One that was made in the future, under a clock that was ahead, is overdue. `check` is what was
    checked since the state was written.
    """
    request = request_of(tag)
    if request is None:
        return None
    if state is None or (state.source, state.request) != (request.source, request.text):
        return AT_ONCE
    if (tag.generation or 0) > state.generation:
        return AT_ONCE
    return next_check(state, now, check)


def next_check(
    state: ImportState | RepositoryImport, now: datetime, check: ImportCheck | None = None
) -> datetime | None:
    """Return when an import is to be made again, by when it was made last, or checked since."""
    planned, last = state.next_check_time, state.last_check_time
    if check is not None and check.counts_for(state):
        planned, last = check.next_after(state), check.last
    return OVERDUE if planned is not None and last is not None and last > now else planned


def spread_overdue(due: datetime, started: datetime, interval: timedelta, place: float) -> datetime:
    """Return when a check is made that fell due while no server ran.

    After a start, those that are overdue are asked over a while, not all at once; `place`, from
    0 to 1, is the check's own place in it, so that another look gives the same time.
    """
    if due == AT_ONCE or due >= started:
        return due
    return started + min(interval, _CATCH_UP) * place


def _interval(annotations: Mapping[str, str]) -> timedelta | None:
    text = annotations.get(INTERVAL_ANNOTATION)
    if not text:
        return None  # of most: it is asked for several times in each check of a tag
    try:
        return parse_duration(text) or None
    except InvalidDurationError:
        return None
