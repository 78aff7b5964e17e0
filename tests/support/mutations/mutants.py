"""Every variant of an object in which one value is broken: deleted, emptied, of another type, …"""

import copy
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

type Document = dict[str, Any]
type Step = str | int
type Path = tuple[Step, ...]

_LONG_TEXT = "x" * 300
"""Longer than any name may be; as free text it is fine."""


class Breakage(StrEnum):
    """Way in which one value of a mutant differs from that of the valid object."""

    DELETED = "deleted"
    NULL = "null"
    EMPTIED = "emptied"
    RETYPED = "retyped"
    NEGATIVE = "negative"
    LARGE = "large"
    """One beyond int32."""
    HUGE = "huge"
    """One beyond int64; of a text, 300 characters."""
    FRACTION = "fraction"
    CASE = "case"
    GARBAGE = "garbage"
    PADDED = "padded"
    UNKNOWN = "unknown"
    """A field that no kind has."""
    DUPLICATE = "duplicate"
    """A list's first entry a second time."""
    BAD_KEY = "bad key"
    """A map has an entry under a key that is no name."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """A variant of a valid object: at `path`, `change`."""

    path: Path
    change: Breakage
    document: Document

    def __str__(self) -> str:
        return f"{self.document.get('kind', '')} {path_text(self.path)} {self.change}"


def path_text(path: Sequence[Step]) -> str:
    """Return a path as messages have it: `spec.ports[0].name`."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}"
    return text.removeprefix(".")


def mutants(
    document: Document, below: Path = ("spec",), whole: Collection[Path] = ()
) -> Iterator[Mutant]:
    """Yield every variant of the object in which one value at or below `below` is broken.

    What is at a path of `whole` is broken as a whole, and nothing in it. The object itself is
    never changed; a mutant shares with it what is the same: copies of all of it took longer than
    the judgement.
    """
    root = _at(document, below)
    if root is not None:
        yield from _of_value(document, below, root, whole)


def _of_value(
    document: Document, path: Path, value: object, whole: Collection[Path]
) -> Iterator[Mutant]:
    yield _without(document, path)
    for change, changed in _variants(value):
        yield _with(document, path, change, changed)
    children: Iterator[tuple[Step, object]] = iter(())
    if path in whole:
        return
    if isinstance(value, dict):
        children = iter(value.items())
    elif isinstance(value, list):
        children = iter(enumerate(value))
    for step, inner in children:
        yield from _of_value(document, (*path, step), inner, whole)


def _variants(value: object) -> Iterator[tuple[Breakage, object]]:
    yield Breakage.NULL, None
    match value:
        case bool():
            yield from _of_bool(value)
        case int():
            yield from _of_number(value)
        case str():
            yield from _of_text(value)
        case dict():
            yield from _of_object(value)
        case list():
            yield from _of_list(value)


def _of_bool(value: bool) -> Iterator[tuple[Breakage, object]]:  # noqa: FBT001 - the value itself
    yield Breakage.EMPTIED, not value
    yield Breakage.RETYPED, "true"
    yield Breakage.RETYPED, 1


def _of_number(value: int) -> Iterator[tuple[Breakage, object]]:
    yield Breakage.EMPTIED, 0
    yield Breakage.RETYPED, str(value)
    yield Breakage.RETYPED, "many"
    yield Breakage.RETYPED, {"value": value}
    yield Breakage.RETYPED, [value]
    yield Breakage.RETYPED, True
    yield Breakage.NEGATIVE, -max(value, 1)
    yield Breakage.LARGE, 2**31
    yield Breakage.HUGE, 2**63
    yield Breakage.FRACTION, value + 0.5


def _of_text(value: str) -> Iterator[tuple[Breakage, object]]:
    yield Breakage.EMPTIED, ""
    yield Breakage.RETYPED, 7
    yield Breakage.RETYPED, False
    yield Breakage.RETYPED, {"value": value}
    yield Breakage.RETYPED, [value]
    if value.rstrip("%").isdigit():
        yield Breakage.NEGATIVE, f"-{value}"
    yield Breakage.HUGE, _LONG_TEXT
    for changed in dict.fromkeys((value.upper(), value.lower(), value[:1].swapcase() + value[1:])):
        if changed != value:
            yield Breakage.CASE, changed
    yield Breakage.GARBAGE, "!! /x"
    yield Breakage.GARBAGE, "Bogus"
    yield Breakage.PADDED, f" {value} "


def _of_object(value: Document) -> Iterator[tuple[Breakage, object]]:
    yield Breakage.EMPTIED, {}
    yield Breakage.RETYPED, "text"
    yield Breakage.RETYPED, [value]
    yield Breakage.UNKNOWN, {**value, "noSuchField": "x"}
    if value and all(isinstance(one, str) for one in value.values()):
        yield Breakage.BAD_KEY, {**value, "!! /x": "y"}


def _of_list(value: list[Any]) -> Iterator[tuple[Breakage, object]]:
    yield Breakage.EMPTIED, []
    yield Breakage.RETYPED, "text"
    yield Breakage.RETYPED, {"entry": 1}
    if value:
        yield Breakage.RETYPED, value[0]
        yield Breakage.DUPLICATE, [*value, copy.deepcopy(value[0])]


def _with(document: Document, path: Path, change: Breakage, value: object) -> Mutant:
    changed, parent = _copied(document, path)
    parent[path[-1]] = value
    return Mutant(path, change, changed)


def _without(document: Document, path: Path) -> Mutant:
    changed, parent = _copied(document, path)
    del parent[path[-1]]
    return Mutant(path, Breakage.DELETED, changed)


def _copied(document: Document, path: Path) -> tuple[Document, Any]:
    """Return a copy of the object, and in it what holds the value at `path`, to be changed."""
    changed = dict(document)
    parent: Any = changed
    for step in path[:-1]:
        parent[step] = copy.copy(parent[step])
        parent = parent[step]
    return changed, parent


def _at(document: Document, path: Sequence[Step]) -> Any:
    value: Any = document
    for step in path:
        if isinstance(value, dict) and step not in value:
            return None
        value = value[step]
    return value
