"""Columns of `-o custom-columns=TITLE:PATH,…`, and the order of `--sort-by`."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from upwell.formats.printing.errors import PrintingError
from upwell.formats.printing.json_path import (
    IndexOutOfBoundsError,
    JsonPath,
    parse_relaxed,
    text_of,
)

NO_VALUE = "<none>"
_PIECES = re.compile(r"(\d+)")


@dataclass(frozen=True, slots=True)
class CustomColumns:
    """Titles and the paths that fill their columns."""

    titles: tuple[str, ...]
    paths: tuple[JsonPath, ...]

    @classmethod
    def parse(cls, text: str) -> "CustomColumns":
        """Return the columns of `TITLE:PATH,…`; raises PrintingError."""
        titles, paths = [], []
        for part in _split(text):
            title, colon, path = part.partition(":")
            if not colon or not title:
                raise PrintingError(text, max(text.find(part), 0), "expected TITLE:PATH,…")
            titles.append(title.strip())
            paths.append(parse_relaxed(path))
        return cls(tuple(titles), tuple(paths))

    @classmethod
    def parse_file(cls, text: str) -> "CustomColumns":
        """Return the columns of a file: a line of titles, and one of paths below them."""
        lines = [line.split() for line in text.splitlines() if line.strip()]
        if len(lines) != 2 or len(lines[0]) != len(lines[1]):  # noqa: PLR2004 - titles and paths
            raise PrintingError(text, 0, "expected a line of titles and a line of as many paths")
        return cls(tuple(lines[0]), tuple(map(parse_relaxed, lines[1])))

    def row(self, document: object) -> tuple[str, ...]:
        """Return the texts of an object's row."""
        return tuple(
            ",".join(_cell(value) for value in found(document, path)) or NO_VALUE
            for path in self.paths
        )


def _split(text: str) -> list[str]:
    """Return what commas part outside brackets."""
    parts, depth, began = [], 0, 0
    for at, letter in enumerate(text):
        depth += (letter in "[(") - (letter in "])")
        if letter == "," and depth == 0:
            parts.append(text[began:at])
            began = at + 1
    return [*parts, text[began:]]


def _cell(value: object) -> str:
    if isinstance(value, Mapping):
        return f"map[{' '.join(f'{key}:{_cell(value[key])}' for key in sorted(value))}]"
    if isinstance(value, list):
        return f"[{' '.join(map(_cell, value))}]"
    return NO_VALUE if value is None else text_of(value)


def found(document: object, path: JsonPath) -> list[Any]:
    """Return what a path leads to; nothing where a list is too short."""
    try:
        return path.values(document)
    except IndexOutOfBoundsError:
        return []


def in_order[Item](items: Iterable[tuple[Item, object]], path_text: str) -> list[Item]:
    """Return items in the order of what a path leads to in the document of each.

    Those without it come first; numbers in texts count as numbers, as in kubectl. Raises
    PrintingError, also when none has it.
    """
    path = parse_relaxed(path_text)
    keyed = [(found(document, path), item) for item, document in items]
    if keyed and not any(values for values, _ in keyed):
        raise PrintingError(path_text, 0, "no object has this field")
    keyed.sort(key=lambda pair: _key(pair[0]))
    return [item for _, item in keyed]


def _key(values: Sequence[Any]) -> tuple[int, Any]:
    if not values or values[0] is None:
        return 0, ()
    value = values[0]
    if isinstance(value, int | float):
        return 1, value
    text = value if isinstance(value, str) else _cell(value)
    # Even pieces are texts, odd ones numbers: so what is compared is of one type.
    pieces = _PIECES.split(text)
    return 2, tuple(int(piece) if at % 2 else piece for at, piece in enumerate(pieces))
