"""Rules that say whether an object is valid, as data: the path of a field, and what it may hold.

A table has a rule for each path. `[]` stands for any entry of a list, `{}` for any value of a map:

    TABLE = {
        "spec.replicas": INT32 & at_least(0),
        "spec.ports": LIST & not_empty,
        "spec.ports[].name": TEXT & matches(DNS_LABEL),
        "spec.selector{}": TEXT,
    }

A rule sees a field that is there; `required` ones are asked for when they are absent or null too,
if the object that they are a field of is there. A path without a rule may hold anything. What is
about several fields at once is a function of the document that yields paths (`Kind.cross`).
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tests.support.mutations.mutants import Document, Path, path_text

type Holds = Callable[[Any], bool]
type Cross = Callable[[Document], Iterator[str]]
"""Yields the paths of what is wrong across several fields of a document of the right types."""


@dataclass(frozen=True, slots=True)
class FieldRule:
    """Types and conditions of a field's value; `required` ones may not be absent or null."""

    types: tuple[type, ...]
    conditions: tuple[Holds, ...] = ()
    required: bool = False

    def __and__(self, condition: Holds) -> "FieldRule":
        return replace(self, conditions=(*self.conditions, condition))

    def holds(self, value: object) -> bool:
        """Return True if a value that is not null keeps the rule."""
        if isinstance(value, bool) and bool not in self.types:
            return False
        if not isinstance(value, self.types):
            return False
        return all(condition(value) for condition in self.conditions)


@dataclass(frozen=True, slots=True)
class KindRules:
    """Rules of one kind."""

    table: Mapping[str, FieldRule]
    cross: Sequence[Cross] = ()
    steps: Mapping[str, tuple[str, ...]] = field(init=False)

    def __post_init__(self) -> None:
        steps = {path: _steps(path) for path in self.table}
        object.__setattr__(self, "steps", steps)


def broken(rules: KindRules, document: Document) -> tuple[str, ...]:
    """Return the paths of the document that break a rule; none: it is valid.

    Rules across fields are asked only of a document whose types are right.
    """
    found = [
        path_text(place)
        for path, rule in rules.table.items()
        for place in _violations(document, rules.steps[path], rule, ())
    ]
    if found:
        return tuple(dict.fromkeys(found))
    return tuple(dict.fromkeys(path for cross in rules.cross for path in cross(document)))


def _steps(path: str) -> tuple[str, ...]:
    return tuple(re.findall(r"\[\]|\{\}|[^.\[\]{}]+", path))


def _violations(value: Any, steps: Sequence[str], rule: FieldRule, at: Path) -> Iterator[Path]:
    if not steps:
        if not rule.holds(value):
            yield at
        return
    step, rest = steps[0], steps[1:]
    if step == "[]":
        for index, inner in enumerate(value if isinstance(value, list) else ()):
            if inner is None and not rest:
                yield (*at, index)  # an entry is never absent: null is no value of it
            yield from _entered(inner, rest, rule, (*at, index))
    elif isinstance(value, dict):
        if step == "{}":
            for key, inner in value.items():
                yield from _entered(inner, rest, rule, (*at, key))
        else:
            yield from _entered(value.get(step), rest, rule, (*at, step))


def _entered(value: Any, rest: Sequence[str], rule: FieldRule, at: Path) -> Iterator[Path]:
    if value is None:
        if not rest and rule.required:
            yield at
        return
    yield from _violations(value, rest, rule, at)


TEXT = FieldRule((str,))
BOOL = FieldRule((bool,))
INT32 = FieldRule((int,), (lambda value: -(2**31) <= value < 2**31,))
INT64 = FieldRule((int,), (lambda value: -(2**63) <= value < 2**63,))
LIST = FieldRule((list,))
OBJECT = FieldRule((dict,))
INT_OR_TEXT = FieldRule(
    (int, str), (lambda value: isinstance(value, str) or -(2**31) <= value < 2**31,)
)


def required(rule: FieldRule) -> FieldRule:
    """Return the rule of a field that must be there."""
    return replace(rule, required=True)


def needed(rule: FieldRule) -> FieldRule:
    """Return the rule of a field that must be there, and hold something."""
    return replace(rule & not_empty, required=True)


def not_empty(value: Any) -> bool:
    """Condition: a text, list or map that holds something."""
    return bool(value)


def one_of(*known: str) -> Holds:
    """Condition: one of these values."""
    return lambda value: value in known


def at_least(least: int) -> Holds:
    """Condition: a number from `least`; a text is not a number."""
    return lambda value: isinstance(value, str) or value >= least


def between(least: int, most: int) -> Holds:
    """Condition: a number in these bounds; a text is not a number."""
    return lambda value: isinstance(value, str) or least <= value <= most


def shorter_than(most: int) -> Holds:
    """Condition: a text of at most `most` characters."""
    return lambda value: len(value) <= most


def matches(expression: str) -> Holds:
    """Condition: a text that is an instance of the expression as a whole."""
    compiled = re.compile(expression)
    return lambda value: compiled.fullmatch(value) is not None


def empty_or(condition: Holds) -> Holds:
    """Condition: an empty text, or one for which the condition holds."""
    return lambda value: value == "" or condition(value)


DNS_LABEL = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
"""RFC 1123 label."""
DNS_SUBDOMAIN = r"(?=.{1,253}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
"""RFC 1123 subdomain, as most names of objects are."""
QUALIFIED = (
    r"((?=[^/]{1,253}/)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?"
    r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
)
"""Key of a label or annotation; keys of annotations may have capitals in the prefix."""
LABEL_VALUE = r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?"
ENV_NAME = r"(?!\.\.)(?!\.$)[-._a-zA-Z][-._a-zA-Z0-9]*"
"""Name of a variable, in its strict form; pods may have more (RELAXED_ENV_NAME)."""
RELAXED_ENV_NAME = r"[ -<>-~]+"
"""Name of a pod's variable since Kubernetes 1.32: printable ASCII but `=`."""
C_IDENTIFIER = r"[A-Za-z_][A-Za-z0-9_]*"


def keys_match(expression: str) -> Holds:
    """Condition: a map all of whose keys are instances of the expression."""
    compiled = re.compile(expression)
    return lambda value: all(compiled.fullmatch(key) for key in value)
