"""Selection of the tag that a stream's tag follows, where it follows more than one name.

The annotation on a tag reads `semver:RANGE`, `pattern:REGEX` or `newest:REGEX`.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from upwell.api.image import ImageStream
from upwell.api.values.faults import Fault
from upwell.formats.regular_expressions import InvalidExpressionError, RegularExpression
from upwell.policy.images.semver_range import InvalidRangeError, SemverRange
from upwell.policy.images.versions import Version, natural_key

SELECTION_ANNOTATION = "upwell.dev/tag-selection"

_DATE = re.compile(
    r"(?P<year>20[0-9]{2})[-_.]?(?P<month>0[1-9]|1[0-2])[-_.]?(?P<day>0[1-9]|[12][0-9]|3[01])"
    r"(?P<time>(?:[-_.T]?[0-9]{2}){0,3})"
)


class Method(StrEnum):
    """Method by which the best tag is found."""

    SEMVER = "semver"
    """The greatest version in the range."""
    PATTERN = "pattern"
    """The last of the matching tags in natural order: `v1.10` after `v1.9`."""
    NEWEST = "newest"
    """The matching tag with the latest date in its name."""


class InvalidSelectionError(ValueError):
    """The annotation says nothing that can be followed."""


@dataclass(frozen=True, slots=True)
class TagChoice:
    """The chosen tag, and why it was chosen."""

    tag: str
    why: str


class TagSelection:
    """A rule that chooses one tag out of those that a repository has."""

    def __init__(self, text: str) -> None:
        """Parse an annotation; raises InvalidSelectionError."""
        method, colon, argument = text.partition(":")
        argument = argument.strip()
        try:
            self._method = Method(method.strip())
        except ValueError:
            raise InvalidSelectionError(f"{text!r}: {_EXPECTED}") from None
        if not colon or not argument:
            raise InvalidSelectionError(f"{text!r}: {_EXPECTED}")
        self._argument = argument
        self._rank: Callable[[str], tuple[object, ...] | None] = {
            Method.SEMVER: self._semver,
            Method.PATTERN: self._pattern,
            Method.NEWEST: self._newest,
        }[self._method](argument)

    def choose(self, tags: Iterable[str], current: str = "") -> TagChoice | None:
        """Return the best of `tags`; None when none of them fits.

        `current` was chosen before. It stays while nothing better is listed, even if it is not
        listed itself: a gap in a registry's list is no reason to go back.
        """
        ranked = [(rank, tag) for tag in set(tags) if (rank := self._rank(tag)) is not None]
        kept = self._rank(current) if current else None
        if not ranked and kept is None:
            return None
        best = max(ranked, default=None)
        if kept is not None and (best is None or best < (kept, current)):
            why = f"{current} stays: the registry lists nothing later for {self}"
            return TagChoice(current, why)
        if best is None:  # pragma: no cover - `kept` or `best` is there
            return None
        return TagChoice(best[1], f"the best of {len(ranked)} tags for {self}")

    def __str__(self) -> str:
        return f"{self._method}:{self._argument}"

    @staticmethod
    def _semver(argument: str) -> "Callable[[str], tuple[object, ...] | None]":
        try:
            wanted = SemverRange(argument)
        except InvalidRangeError as error:
            raise InvalidSelectionError(str(error)) from error

        def rank(tag: str) -> tuple[object, ...] | None:
            version = Version.parse(tag)
            if version is None or version not in wanted:
                return None
            return version.precedence, len(version.numbers)

        return rank

    @staticmethod
    def _pattern(argument: str) -> "Callable[[str], tuple[object, ...] | None]":
        pattern = _compile(argument)
        return lambda tag: natural_key(tag) if pattern.search(tag) else None

    @staticmethod
    def _newest(argument: str) -> "Callable[[str], tuple[object, ...] | None]":
        pattern = _compile(argument)

        def rank(tag: str) -> tuple[object, ...] | None:
            date = _DATE.search(tag) if pattern.search(tag) else None
            if date is None:
                return None
            time = re.sub(r"[^0-9]", "", date["time"]).ljust(6, "0")
            return date["year"], date["month"], date["day"], time, natural_key(tag)

        return rank


def selection_faults(stream: ImageStream) -> Iterator[Fault]:
    """Yield what is wrong with the selections of the stream's tags."""
    for at, tag in enumerate(stream.spec.tags):
        text = tag.annotations.get(SELECTION_ANNOTATION)
        try:
            if text:
                TagSelection(text)
        except InvalidSelectionError as error:
            yield Fault(f"spec.tags[{at}].annotations[{SELECTION_ANNOTATION}]", str(error))


_EXPECTED = (
    "expected semver:RANGE, pattern:REGEX or newest:REGEX, as in `semver:>=1.2 <2`,"
    r" `pattern:^v1\.` or `newest:^nightly-`"
)


def _compile(text: str) -> RegularExpression:
    """Compile a pattern; raises InvalidSelectionError."""
    try:
        return RegularExpression(text)
    except InvalidExpressionError as error:
        raise InvalidSelectionError(str(error)) from error
