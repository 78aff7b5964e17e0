"""Unit files of systemd: sections, assignments and words, as systemd.syntax(7) has them."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

_ASSIGNMENT = re.compile(r"([A-Za-z0-9-]+)\s*=\s*(.*)")
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|[0-7]{3}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|.)", re.DOTALL)
_LETTERS = {
    "a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "s": " ",
    "\\": "\\", '"': '"', "'": "'",
}  # fmt: skip
_WORD = re.compile(r"""\s*((?:"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|\\.|[^\s"'\\])+)""", re.DOTALL)
_PART = re.compile(r""""((?:[^"\\]|\\.)*)"|'((?:[^'\\]|\\.)*)'|((?:\\.|[^"'\\])+)""", re.DOTALL)
_HIGHEST = 0x10FFFF


class UnitFileError(ValueError):
    """A text that is no unit file, or a value that cannot be told; the message says where."""


@dataclass(slots=True)
class UnitFile:
    """Values of a unit file and its drop-ins: all that were assigned, in order."""

    sections: dict[str, dict[str, list[str]]] = field(default_factory=dict)

    def section(self, name: str) -> Mapping[str, list[str]]:
        """Return the values of a section by their keys."""
        return self.sections.get(name, {})

    def read(self, text: str, source: str) -> None:
        """Add the assignments of a file; an empty one forgets those before. Raises UnitFileError.

        `source` names the file in messages.
        """
        section: dict[str, list[str]] | None = None
        for at, line in _lines(text):
            if line.startswith("[") and line.endswith("]"):
                section = self.sections.setdefault(line[1:-1], {})
                continue
            match = _ASSIGNMENT.fullmatch(line)
            if section is None or match is None:
                raise UnitFileError(f"{source}:{at}: neither a [Section] nor KEY=VALUE")
            key, value = match[1], match[2]
            if value:
                section.setdefault(key, []).append(value)
            else:
                section[key] = []


def _lines(text: str) -> Iterable[tuple[int, str]]:
    """Yield the lines with their numbers: continued ones joined, comments and blanks left out."""
    begun, joined = 0, ""
    for at, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if line.startswith(("#", ";")) or (not line and not joined):
            continue
        begun = begun or at
        if line.endswith("\\"):
            joined += f"{line[:-1]} "
            continue
        if complete := (joined + line).strip():
            yield begun, complete
        begun, joined = 0, ""
    if joined.strip():
        yield begun, joined.strip()


def plain(value: str) -> str:
    """Return a value without specifiers; raises UnitFileError for one that only systemd knows."""
    if re.search(r"(?<!%)(?:%%)*%(?!%)", value):
        raise UnitFileError(f"{value!r} has a specifier: write what it stands for")
    return value.replace("%%", "%")


def words(value: str) -> list[str]:
    """Return the words of a command or a list; raises UnitFileError where a quote is not closed."""
    found: list[str] = []
    at = 0
    while at < len(value) and value[at:].strip():
        match = _WORD.match(value, at)
        if match is None or (match.end() < len(value) and not value[match.end()].isspace()):
            raise UnitFileError(f"{value!r} has a quote that is not closed")
        parts = (one[0] or one[1] or one[2] for one in _PART.findall(match[1]))
        found.append(plain("".join(_ESCAPE.sub(_unescaped, part) for part in parts)))
        at = match.end()
    return found


def _unescaped(match: re.Match[str]) -> str:
    code = match[1]
    if len(code) == 1:
        if code not in _LETTERS:
            raise UnitFileError(f"unknown escape {match[0]!r}")
        return _LETTERS[code]
    number = int(code, 8) if code.isdecimal() else int(code[1:], 16)
    if not 0 < number <= _HIGHEST:
        raise UnitFileError(f"{match[0]!r} is no character")
    return chr(number)


def assigned(values: Iterable[str]) -> dict[str, str]:
    """Return `NAME=VALUE` words by name; raises UnitFileError."""
    found: dict[str, str] = {}
    for value in values:
        for word in words(value):
            name, given, rest = word.partition("=")
            if not given:
                raise UnitFileError(f"{name!r} is no NAME=VALUE")
            found[name] = rest
    return found
