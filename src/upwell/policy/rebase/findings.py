"""Findings about a rebase: each is a reason for which only a rebuild is right."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class RebaseFault(StrEnum):
    """Kind of a finding."""

    FILE_OVERLAP = "FileOverlap"
    """The image has its own version of what the base update changes."""
    WHITEOUT = "Whiteout"
    """The image removes what the base update changes."""
    PACKAGE_DATABASE = "PackageDatabase"
    """The package database would not say what is installed."""
    BASE_COPY = "CopyOfBaseFile"
    """The image has a copy of what the base update changes."""
    MISSING_LIBRARY = "MissingLibrary"
    MISSING_SYMBOL_VERSION = "MissingSymbolVersion"
    SHADOWED_LIBRARY = "ShadowedLibrary"
    """A library of the image comes before one that the base update changes."""
    RUNTIME_VERSION = "RuntimeVersion"
    DISTRIBUTION = "Distribution"
    MISSING_FILE = "MissingFile"
    """The image refers to what is not in the new base."""
    USER = "User"
    ON_BUILD = "OnBuild"
    OPT_OUT = "OptOut"
    SETTING_CONFLICT = "SettingConflict"
    BUILD_SETTING = "BuildSetting"
    """The steps of the image would have run otherwise on the new base."""
    BUILD_SCRIPT = "BuildScript"
    """The base update changes scripts that make the image."""
    UNKNOWN = "Unknown"
    """A part could not be looked at."""


_SHOWN = 5
_MAX_WHY = 500
_MAX_PATH = 200
"""Characters that a person is shown: names in an image may be as long as a stranger likes."""


def cut(text: str, most: int) -> str:
    """Return a text of at most so many characters, which says so where it was longer."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def listed(reasons: Sequence[str], most: int) -> list[str]:
    """Return the first reasons, and how many more there are."""
    more = len(reasons) - most
    return [*reasons[:most], *([f"and {more} more reasons"] if more > 0 else [])]


@dataclass(frozen=True, slots=True)
class RebaseFinding:
    """One reason; `paths` are those of the image that it is about."""

    fault: RebaseFault
    why: str
    paths: tuple[str, ...] = ()
    others: int = 0
    """Number of further paths."""

    def __str__(self) -> str:
        shown = ", ".join(f"/{cut(path, _MAX_PATH)}" for path in self.paths[:_SHOWN])
        more = max(len(self.paths) - _SHOWN, 0) + self.others
        ending = f" and {more} more" if more > 0 else ""
        return f"{self.fault}: {cut(self.why, _MAX_WHY)}" + (f": {shown}{ending}" if shown else "")


def shortened(finding: RebaseFinding) -> RebaseFinding:
    """Return a finding that reads the same, of a length that no stranger chooses."""
    paths = tuple(cut(path, _MAX_PATH) for path in finding.paths[:_SHOWN])
    others = len(finding.paths) - len(paths) + finding.others
    return RebaseFinding(finding.fault, cut(finding.why, _MAX_WHY), paths, others)
