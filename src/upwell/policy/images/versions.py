"""Versions as image tags write them: `1.2`, `v1.2.3`, `1.2.3-rc.1` (Semantic Versioning 2.0.0)."""

import re
from dataclasses import dataclass
from functools import total_ordering
from typing import Self

_NUMBER = r"(?:0|[1-9][0-9]{0,17})"
_VERSION = re.compile(
    rf"v?(?P<numbers>{_NUMBER}(?:\.{_NUMBER}){{0,2}})(?:-(?P<pre>[0-9A-Za-z.-]+))?"
)
_PARTS = 3


@total_ordering
@dataclass(frozen=True, slots=True)
class Version:
    """A version in the order of precedence; parts that are left out count as 0.

    Of two equal versions the one with more parts is the greater: `1.2.0` says more than `1.2`.
    """

    numbers: tuple[int, ...]
    prerelease: tuple[str, ...] = ()

    @classmethod
    def parse(cls, tag: str) -> Self | None:
        """Return the version that `tag` writes; None when it writes none."""
        match = _VERSION.fullmatch(tag)
        if match is None:
            return None
        numbers = tuple(int(number) for number in match["numbers"].split("."))
        return cls(numbers, tuple(match["pre"].split(".")) if match["pre"] else ())

    @property
    def parts(self) -> tuple[int, int, int]:
        """Major, minor and patch."""
        major, minor, patch = (*self.numbers, 0, 0)[:_PARTS]
        return major, minor, patch

    @property
    def is_full(self) -> bool:
        """True if major, minor and patch are all written."""
        return len(self.numbers) == _PARTS

    @property
    def precedence(self) -> tuple[object, ...]:
        """Key by which semver compares: equal for versions that differ in their writing alone."""
        # A prerelease stands before its release; numbers before words, as numbers (section 11).
        identifiers = tuple(
            (0, int(part), "") if part.isdecimal() else (1, 0, part) for part in self.prerelease
        )
        return self.parts, not self.prerelease, identifiers

    def __lt__(self, other: Self) -> bool:
        return (self.precedence, len(self.numbers)) < (other.precedence, len(other.numbers))


def natural_key(text: str) -> tuple[tuple[int, int, str], ...]:
    """Return a sort key in which the numbers inside a text count as numbers."""
    pieces = re.findall(r"[0-9]+|[^0-9]+", text)
    return tuple((0, int(p), "") if p.isdecimal() else (1, 0, p) for p in pieces)
