"""Ranges of versions: `>=1.2 <2`, `^1.4`, `~1.4.2`, `1.x`, joined by `||` (as npm and Flux)."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from operator import eq, ge, gt, le, lt
from typing import Any

from upwell.policy.images.versions import Version

_MAX_RANGE = 256
_TERM = re.compile(r"(?P<operator>>=|<=|>|<|=|\^|~)?\s*(?P<version>v?[0-9A-Za-z.*-]+)")
_WILDCARDS = {"x", "X", "*"}
_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    ">=": ge,
    ">": gt,
    "<=": le,
    "<": lt,
    "=": eq,
}


class InvalidRangeError(ValueError):
    """The text is not a range of versions."""

    def __init__(self, text: str) -> None:
        super().__init__(f"{text[:_MAX_RANGE]!r} is not a range of versions such as `>=1.2 <2`")


@dataclass(frozen=True, slots=True)
class _Bound:
    compares: Callable[[Any, Any], bool]
    version: Version

    def admits(self, version: Version) -> bool:
        return self.compares(version.precedence, self.version.precedence)


class SemverRange:
    """A set of versions. A prerelease is in it only where a bound names one of the same release."""

    def __init__(self, text: str) -> None:
        """Parse a range; raises InvalidRangeError."""
        if len(text) > _MAX_RANGE:
            raise InvalidRangeError(text)
        self._alternatives = [_bounds(part.strip(), text) for part in text.split("||")]

    def __contains__(self, version: object) -> bool:
        if not isinstance(version, Version):
            return False
        return any(_admit(bounds, version) for bounds in self._alternatives)


def _admit(bounds: list[_Bound], version: Version) -> bool:
    if version.prerelease and not any(
        bound.version.prerelease and bound.version.parts == version.parts for bound in bounds
    ):
        return False
    return all(bound.admits(version) for bound in bounds)


def _bounds(part: str, whole: str) -> list[_Bound]:
    bounds: list[_Bound] = []
    at = 0
    for match in _TERM.finditer(part):
        if part[at : match.start()].strip(" ,"):
            raise InvalidRangeError(whole)
        at = match.end()
        bounds.extend(_term(match["operator"] or "", match["version"], whole))
    if part[at:].strip(" ,") or at == 0:
        raise InvalidRangeError(whole)
    return bounds


def _term(operator: str, text: str, whole: str) -> list[_Bound]:
    written = text.split(".")
    while written and written[-1] in _WILDCARDS:
        written.pop()
    if not written:
        return []
    version = Version.parse(".".join(written))
    if version is None:
        raise InvalidRangeError(whole)
    last = len(version.numbers) - 1
    match operator:
        case "^":
            # The first part that is not 0 may not change.
            first = next((at for at, number in enumerate(version.numbers) if number), last)
            return _between(version, first)
        case "~":
            return _between(version, min(1, last))
        case "" | "=" if not version.is_full:
            return _between(version, last)
        case "<=" | ">" if not version.is_full:
            # `<=1.2` admits all of 1.2, and `>1.2` nothing of it.
            compares = lt if operator == "<=" else ge
            return [_Bound(compares, _following(version, last))]
        case _:
            return [_Bound(_COMPARISONS[operator or "="], version)]


def _between(version: Version, fixed: int) -> list[_Bound]:
    return [_Bound(ge, version), _Bound(lt, _following(version, fixed))]


def _following(version: Version, part: int) -> Version:
    """Return the first version whose parts up to `part` are greater."""
    numbers = version.parts[: part + 1]
    return Version((*numbers[:-1], numbers[-1] + 1))
