r"""JSONPath as kubectl reads it (https://kubernetes.io/docs/reference/kubectl/jsonpath/).

A path is a chain of steps, each from a list of values to a list of values: `.name`, `['name']`,
`.*`, `[0]`, `[-1]`, `[1:3]`, `[0,2]`, `..name`, `[?(@.type=="Ready")]`. A dot of a name is written
`\.`. Regular expressions have no place in it.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from upwell.formats.printing.errors import PrintingError

type Step = Callable[[list[Any]], list[Any]]

_ENDS = frozenset(" \t\r\n.,[]{}")
_SLICE = re.compile(r"(-?\d{0,9})(?::(-?\d{0,9}))?(?::(-?\d{0,9}))?")
_COMPARISON = re.compile(
    r"""\s*(?P<left>(?:"[^"]*"|'[^']*'|[^!<>=])+?)\s*(?P<operator>==|!=|<=|>=|<|>)\s*(?P<right>.+?)\s*""",
    re.DOTALL,
)


class IndexOutOfBoundsError(LookupError):
    """A list has no item of that index."""


@dataclass(frozen=True, slots=True)
class JsonPath:
    """A path that was parsed."""

    steps: tuple[Step, ...]

    def values(self, document: object) -> list[Any]:
        """Return what the path leads to; nothing where a field is missing.

        Raises IndexOutOfBoundsError, as kubectl does.
        """
        found = [document]
        for step in self.steps:
            found = step(found)
        return found


def parse_relaxed(text: str) -> JsonPath:
    """Return the path that columns and orders name: `{.a.b}`, `.a.b` or `a.b`.

    Raises PrintingError.
    """
    inner = text.strip()
    if inner.startswith("{") and inner.endswith("}"):
        inner = inner[1:-1].strip()
    if inner and inner[0] not in "$@.[":
        inner = f".{inner}"
    path, end = parse_path(inner, 0)
    if end != len(inner) or not path.steps:
        raise PrintingError(text, min(end, len(text)), "expected a path such as .metadata.name")
    return path


def parse_path(text: str, at: int) -> tuple[JsonPath, int]:
    """Return the path that begins at `at`, and where it ends; raises PrintingError."""
    steps: list[Step] = []
    if text[at : at + 1] in {"$", "@"}:
        at += 1
    while at < len(text):
        if text.startswith("..", at):
            name, at = _name(text, at + 2)
            steps.append(_descendants)
            if name:
                steps.append(_field(name))
        elif text[at] == ".":
            name, at = _name(text, at + 1)
            if name:
                steps.append(_field(name))
            elif text[at : at + 1] not in {"", "[", "}", " "}:
                raise PrintingError(text, at, "expected a field's name")
        elif text[at] == "[":
            step, at = _brackets(text, at)
            steps.append(step)
        else:
            break
    return JsonPath(tuple(steps)), at


def _name(text: str, at: int) -> tuple[str, int]:
    """Return the name at `at`, its escapes resolved, and where it ends."""
    letters = []
    while at < len(text) and text[at] not in _ENDS:
        at += text[at] == "\\"
        letters.append(text[at : at + 1])
        at += 1
    return "".join(letters), at


def _field(name: str) -> Step:
    def step(values: list[Any]) -> list[Any]:
        if name == "*":
            return [inner for value in values for inner in _inner(value)]
        return [value[name] for value in values if isinstance(value, Mapping) and name in value]

    return step


def _inner(value: object) -> Iterator[Any]:
    if isinstance(value, Mapping):
        yield from value.values()
    elif isinstance(value, list):
        yield from value


def _descendants(values: list[Any]) -> list[Any]:
    """Return the values and all that they hold, each before what is in it."""
    found: list[Any] = []
    left = list(reversed(values))
    while left:
        value = left.pop()
        found.append(value)
        left += reversed(list(_inner(value)))
    return found


def _brackets(text: str, at: int) -> tuple[Step, int]:
    """Return the step of `[…]` at `at`, and where it ends."""
    end = _closing(text, at)
    inner = text[at + 1 : end].strip()
    if inner.startswith("?"):
        if not (inner[1:].lstrip().startswith("(") and inner.endswith(")")):
            raise PrintingError(text, at, 'expected a filter such as [?(@.name=="web")]')
        step = _filter(inner[1:].strip()[1:-1], text, at)
    else:
        parts = [_part(part.strip(), text, at) for part in _separated(inner)]
        step = parts[0] if len(parts) == 1 else _union(parts)
    return step, end + 1


def _closing(text: str, at: int) -> int:
    """Return the place of the `]` that belongs to the `[` at `at`."""
    depth, quote = 0, ""
    for place in range(at, len(text)):
        letter = text[place]
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "\"'":
            quote = letter
        elif letter == "[":
            depth += 1
        elif letter == "]":
            depth -= 1
            if depth == 0:
                return place
    raise PrintingError(text, at, "the quote is not closed" if quote else "the [ is not closed")


def _separated(text: str) -> Iterator[str]:
    """Yield what commas part, but for commas in quotes."""
    yield from (match[0] for match in re.finditer(r"""(?:"[^"]*"|'[^']*'|[^,])+""", text))
    if not text:
        yield ""


def _part(part: str, text: str, at: int) -> Step:
    if part == "*":
        return _field("*")
    if len(part) > 1 and part[0] == part[-1] and part[0] in "\"'":
        # As kubectl: the quotes hold a path, in which dots of names are escaped.
        path, end = parse_path(f".{part[1:-1]}", 0)
        if end == len(part) - 1:
            return lambda values: [found for value in values for found in path.values(value)]
    if not part:
        part = "0:1"  # as kubectl reads `[]`
    match = _SLICE.fullmatch(part)
    if match is None:
        raise PrintingError(text, at, f"expected an index, a slice or a quoted name, not [{part}]")
    if ":" not in part:
        return _item(int(part)) if part != "-" else _bad(text, at, part)
    try:
        start, stop, stride = (int(bound) if bound else None for bound in match.groups())
    except ValueError:
        return _bad(text, at, part)
    if stride is not None and stride <= 0:
        raise PrintingError(text, at, f"the step of [{part}] has to be above 0")
    wanted = slice(start, stop, stride)
    return lambda values: [
        item for value in values if isinstance(value, list) for item in value[wanted]
    ]


def _bad(text: str, at: int, part: str) -> Step:
    raise PrintingError(text, at, f"[{part}] has a bound that is no number")


def _item(index: int) -> Step:
    def step(values: list[Any]) -> list[Any]:
        found = []
        for value in values:
            if not isinstance(value, list):
                continue
            if not -len(value) <= index < len(value):
                raise IndexOutOfBoundsError(
                    f"array index out of bounds: index {index}, length {len(value)}"
                )
            found.append(value[index])
        return found

    return step


def _union(parts: list[Step]) -> Step:
    return lambda values: [found for part in parts for found in part(values)]


def _filter(inner: str, text: str, at: int) -> Step:
    match = _COMPARISON.fullmatch(inner)
    if match is None:
        existing = _operand(inner.strip(), text, at)
        return lambda values: [item for item in _items(values) if existing(item)]
    left, right = (_operand(match[side].strip(), text, at) for side in ("left", "right"))
    holds = _OPERATORS[match["operator"]]

    def step(values: list[Any]) -> list[Any]:
        return [item for item in _items(values) if _compares(left(item), right(item), holds)]

    return step


def _items(values: list[Any]) -> Iterator[Any]:
    for value in values:
        if isinstance(value, list):
            yield from value
        else:
            yield value


def _operand(part: str, text: str, at: int) -> Callable[[Any], list[Any]]:
    """Return what gives the values of one side of a filter for an item."""
    if part.startswith(("@", "$", ".")):
        path, end = parse_path(part, 0)
        if end != len(part):
            raise PrintingError(text, at, f"cannot understand {part!r} in a filter")
        return path.values
    if len(part) > 1 and part[0] == part[-1] and part[0] in "\"'":
        literal: Any = part[1:-1]
    else:
        try:
            literal = json.loads(part)
        except ValueError:
            why = f"cannot understand {part!r} in a filter: quote texts, begin paths with @"
            raise PrintingError(text, at, why) from None
    return lambda _: [literal]


_OPERATORS: Mapping[str, Callable[[Any, Any], bool]] = {
    "==": lambda left, right: left == right,
    "!=": lambda left, right: left != right,
    "<": lambda left, right: left < right,
    "<=": lambda left, right: left <= right,
    ">": lambda left, right: left > right,
    ">=": lambda left, right: left >= right,
}


def _compares(left: list[Any], right: list[Any], holds: Callable[[Any, Any], bool]) -> bool:
    if not left or not right:
        return False
    try:
        return holds(left[0], right[0])
    except TypeError:
        return False  # a text and a number have no order


_parse_once = lru_cache(maxsize=512)(parse_relaxed)


def values_at(document: object, path: str) -> list[Any]:
    """Return the values at a path such as `spec.containers[*].image`; none when it ends early.

    Empty texts count as none. For paths of our own, which are read again and again.
    """
    try:
        found = _parse_once(path).values(document)
    except IndexOutOfBoundsError:
        return []
    return [value for value in found if value not in (None, "")]


def text_of(value: object) -> str:
    """Return a scalar as kubectl prints it: `true`, `3`, `shop`."""
    return str(value).lower() if isinstance(value, bool) else str(value)
