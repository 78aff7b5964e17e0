"""Durations as clients write them.

In figures: k8s.io/apimachinery/pkg/util/duration, HumanDuration. In words, as OpenShift prints
them: github.com/docker/go-units, HumanDuration.
"""

from datetime import timedelta

_MINUTE, _HOUR, _DAY, _YEAR = 60, 3600, 86_400, 365 * 86_400
_MINUTES_OF_HOUR = 60
_WEEK, _MONTH = 7 * _DAY, 30 * _DAY
_WORDS = (
    (2 * _YEAR, _YEAR, "years"),
    (2 * _MONTH, _MONTH, "months"),
    (2 * _WEEK, _WEEK, "weeks"),
    (2 * _DAY, _DAY, "days"),
)
"""From how many seconds on: the unit in words."""
_UNITS = (
    (8 * _YEAR, _YEAR, "y", 0, ""),
    (2 * _YEAR, _YEAR, "y", _DAY, "d"),
    (8 * _DAY, _DAY, "d", 0, ""),
    (2 * _DAY, _DAY, "d", _HOUR, "h"),
    (8 * _HOUR, _HOUR, "h", 0, ""),
    (3 * _HOUR, _HOUR, "h", _MINUTE, "m"),
    (10 * _MINUTE, _MINUTE, "m", 0, ""),
    (2 * _MINUTE, _MINUTE, "m", 1, "s"),
)
"""From how many seconds on: the unit, and the one of the rest, if that tells enough."""


def human_duration(duration: timedelta) -> str:
    """Return `45s`, `3m20s`, `45m`, `5h10m`, `30h`, `3d4h`, `40d` or `2y31d`.

    A negative duration, which clocks that differ make, is `0s`.
    """
    seconds = max(int(duration.total_seconds()), 0)
    for least, size, unit, smaller_size, smaller in _UNITS:
        if seconds >= least:
            whole, rest = divmod(seconds, size)
            part = rest // smaller_size if smaller_size else 0
            return f"{whole}{unit}{part}{smaller}" if part else f"{whole}{unit}"
    return f"{seconds}s"


def elapsed_words(duration: timedelta) -> str:
    """Return `Less than a second`, `45 seconds`, `About a minute`, `3 hours`, `2 weeks`."""
    seconds = max(int(duration.total_seconds()), 0)
    if seconds < _MINUTE:
        return {0: "Less than a second", 1: "1 second"}.get(seconds, f"{seconds} seconds")
    if (minutes := seconds // _MINUTE) < _MINUTES_OF_HOUR:
        return "About a minute" if minutes == 1 else f"{minutes} minutes"
    for least, size, unit in _WORDS:
        if seconds >= least:
            return f"{seconds // size} {unit}"
    hours = int(seconds / _HOUR + 0.5)
    return "About an hour" if hours == 1 else f"{hours} hours"
