"""Findings of the hardening list, and how a check becomes some; pure."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice

_SHOWN = 20
"""Objects that one check names; the others are counted."""


class FlawSeverity(StrEnum):
    """Fail: somebody gets what nobody gave them. Warn: it holds, and could hold better."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Flaw:
    """An object that could be safer."""

    severity: FlawSeverity
    object: str
    """`token/ci`, `deployment/web in namespace shop`, the path of a file, `[builds] network`."""
    reason: str
    remedy: str
    """A command or a setting."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Result of a check about one object; without an object nothing is wrong."""

    check: str
    severity: FlawSeverity
    object: str
    reason: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class HardeningCheck[State]:
    """One line of the hardening list."""

    name: str
    """As in docs/hardening.md."""
    holds: str
    """True of a state without flaws."""
    flaws: Callable[[State], Iterator[Flaw]]


def findings[State](checks: Iterable[HardeningCheck[State]], state: State) -> Iterator[Finding]:
    """Judge a state by each check, in their order."""
    for check in checks:
        yield from _of(check, state)


def _of[State](check: HardeningCheck[State], state: State) -> Iterator[Finding]:
    flaws = check.flaws(state)
    found = [_finding(check.name, flaw) for flaw in islice(flaws, _SHOWN)]
    more = list(flaws)
    if not found:
        yield Finding(check.name, FlawSeverity.OK, "", check.holds)
        return
    yield from found
    if more:
        worst = FlawSeverity.FAIL if any(_is_fail(flaw) for flaw in more) else FlawSeverity.WARN
        remedy = "mend those above, and ask again"
        yield Finding(check.name, worst, f"{len(more)} more", "as above", remedy)


def _finding(name: str, flaw: Flaw) -> Finding:
    return Finding(name, flaw.severity, flaw.object, flaw.reason, flaw.remedy)


def _is_fail(flaw: Flaw) -> bool:
    return flaw.severity is FlawSeverity.FAIL
