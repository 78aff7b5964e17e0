r"""Templates of `-o jsonpath=`: text with paths in braces, ranges, and quoted text.

`{range .items[*]}{.metadata.name}{"\n"}{end}`; a text outside braces stands for itself.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from upwell.formats.printing.errors import PrintingError
from upwell.formats.printing.json_path import IndexOutOfBoundsError, JsonPath, parse_path

_MAX_DEPTH = 32
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r"}


@dataclass(frozen=True, slots=True)
class _Part:
    """A text, a path, or a range over what a path leads to."""

    text: str = ""
    path: JsonPath | None = None
    at: int = 0
    body: "tuple[_Part, ...] | None" = None


@dataclass(frozen=True, slots=True)
class JsonPathTemplate:
    """A template that was parsed; raises PrintingError where it does not fit the data."""

    template: str
    parts: tuple[_Part, ...]

    @classmethod
    def parse(cls, template: str) -> "JsonPathTemplate":
        """Parse a template; one without braces is a path, as kubectl has it. Raises PrintingError.

        `'{.kind}'` in single quotes that a shell left is the same without them.
        """
        if len(template) > 1 and template[0] == template[-1] == "'":
            template = template[1:-1]
        if "{" not in template and template.lstrip()[:1] in {"$", "@", ".", "["}:
            template = "{" + template.strip() + "}"
        parser = _Parser(template)
        parts = parser.parse(0)
        return cls(template, parts)

    def text(self, document: object) -> str:
        """Return the text that the template makes of a document."""
        return "".join(self._texts(self.parts, document))

    def found(self, document: object) -> list[Any]:
        """Return the values of all paths of the template, for `jsonpath-as-json`."""
        return [value for part in self.parts for value in self._values(part, document)]

    def _texts(self, parts: Sequence[_Part], document: object) -> Iterator[str]:
        for part in parts:
            if part.body is not None:
                for item in self._values(part, document):
                    yield from self._texts(part.body, item)
            elif part.path is not None:
                yield " ".join(printed(value) for value in self._values(part, document))
            else:
                yield part.text

    def _values(self, part: _Part, document: object) -> list[Any]:
        if part.path is None:
            return []
        try:
            return part.path.values(document)
        except IndexOutOfBoundsError as error:
            raise PrintingError(self.template, part.at, str(error)) from None


def printed(value: object) -> str:
    """Return a value as kubectl's JSONPath prints it: objects and lists as JSON."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, sort_keys=True)


@dataclass(slots=True)
class _Parser:
    template: str
    _at: int = field(default=0, init=False)

    def parse(self, depth: int) -> tuple[_Part, ...]:
        """Return the parts up to the end of the template, or of the range of this depth."""
        if depth > _MAX_DEPTH:
            raise PrintingError(self.template, self._at, f"more than {_MAX_DEPTH} ranges deep")
        parts: list[_Part] = []
        began = self._at
        while self._at < len(self.template):
            brace = self.template.find("{", self._at)
            text = self.template[self._at : brace if brace >= 0 else None]
            if text:
                parts.append(_Part(text))
            if brace < 0:
                self._at = len(self.template)
                break
            self._at = brace
            if re.compile(r"\{\s*end\s*\}").match(self.template, brace):
                if not depth:
                    raise PrintingError(self.template, brace, "{end} without {range}")
                self._at = self.template.index("}", brace) + 1
                return tuple(parts)
            parts.append(self._braces(depth))
        if depth:
            raise PrintingError(self.template, began - 1, "the {range} has no {end}")
        return tuple(parts)

    def _braces(self, depth: int) -> _Part:
        began = self._at
        self._skip(1)
        if self.template[self._at : self._at + 1] in {'"', "'"}:
            text = self._quoted()
            self._close(began)
            return _Part(text)
        is_range = re.compile(r"range\s").match(self.template, self._at)
        if is_range:
            self._skip(len("range"))
        if re.compile(r"[A-Za-z_]").match(self.template, self._at):
            why = "expected a path: it begins with a dot, as in {.metadata.name}"
            raise PrintingError(self.template, self._at, why)
        place = self._at
        path, self._at = parse_path(self.template, self._at)
        self._close(began)
        if not is_range:
            return _Part(path=path, at=place)
        return _Part(path=path, at=place, body=self.parse(depth + 1))

    def _quoted(self) -> str:
        began, quote = self._at, self.template[self._at]
        letters: list[str] = []
        self._at += 1
        while self._at < len(self.template):
            letter = self.template[self._at]
            self._at += 1
            if letter == quote:
                return "".join(letters)
            if letter == "\\" and self._at < len(self.template):
                escaped = self.template[self._at]
                self._at += 1
                letter = _ESCAPES.get(escaped, escaped)
            letters.append(letter)
        raise PrintingError(self.template, began, "the quote is not closed")

    def _close(self, began: int) -> None:
        self._skip(0)
        if self._at >= len(self.template):
            raise PrintingError(self.template, began, "the { is not closed")
        if self.template[self._at] != "}":
            raise PrintingError(
                self.template, self._at, f"cannot understand {self.template[self._at]!r}"
            )
        self._at += 1

    def _skip(self, count: int) -> None:
        self._at += count
        while self.template[self._at : self._at + 1].isspace():
            self._at += 1
