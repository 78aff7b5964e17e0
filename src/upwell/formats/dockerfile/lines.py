"""The lines of a Dockerfile: directives, comments, continuations, and the words of a line.

What two readers could take for different things is refused, with its line and column: characters
that one of them counts as white space, or as the end of a line, and the other does not.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

BLANKS = " \t"
"""The white space that separates; more is white space to some readers alone."""

_DIRECTIVE = re.compile(r"#\s*([A-Za-z][A-Za-z0-9]*)\s*=\s*(\S+)\s*")


class DockerfileError(ValueError):
    """The Dockerfile cannot be understood; `line` and `column` say where, counted from 1."""

    def __init__(self, line: int, problem: str, column: int | None = None) -> None:
        where = f"line {line}" if column is None else f"line {line}, column {column}"
        super().__init__(f"Dockerfile {where}: {problem}")
        self.line = line
        self.column = column
        self.problem = problem


@dataclass(frozen=True, slots=True)
class Word:
    """A word of an instruction, and where it stands in the text."""

    text: str
    start: int
    end: int
    at: int = 0
    """Position in its logical line."""


@dataclass(frozen=True, slots=True)
class LogicalLine:
    """One logical line: its characters, and where each stands in the text."""

    line: int
    text: str
    offsets: Sequence[int]
    source: "Lines"

    def words(self, escape: str) -> Iterator[Word]:
        """Yield the words; quotes hold a word together, and stay in it. Raises DockerfileError."""
        start, quote, skip = None, "", False
        for at, char in enumerate(self.text):
            self._check(at, char, quoted=bool(quote))
            if skip:
                skip = False
            elif char == escape and quote != "'":
                skip = True
                start = at if start is None else start
            elif quote:
                quote = "" if char == quote else quote
            elif char in BLANKS:
                if start is not None:
                    yield self._word(start, at)
                start = None
            else:
                quote = char if char in "\"'" else ""
                start = at if start is None else start
        if start is not None:
            yield self._word(start, len(self.text))

    def part(self, at: int) -> "LogicalLine":
        """Return what begins at `at`."""
        return LogicalLine(self.line, self.text[at:], self.offsets[at:], self.source)

    def refusal(self, at: int, problem: str) -> DockerfileError:
        """Return an error that names the character at `at`."""
        line, column = self.source.position(self.offsets[at])
        return DockerfileError(line, problem, column)

    def _word(self, start: int, end: int) -> Word:
        return Word(self.text[start:end], self.offsets[start], self.offsets[end - 1] + 1, start)

    def _check(self, at: int, char: str, *, quoted: bool) -> None:
        if char.isprintable() or char == "\t":
            return
        category = unicodedata.category(char)
        if category == "Cs":
            raise self.refusal(at, "not UTF-8 text")
        if category == "Cc":
            raise self.refusal(at, f"the control character U+{ord(char):04X} is not allowed")
        # At the end of a line some readers take it away, in quotes too.
        if char.isspace() and (not quoted or at == len(self.text) - 1):
            name = unicodedata.name(char, "white space")
            message = f"{name} (U+{ord(char):04X}) is no blank to all readers: use a plain one"
            raise self.refusal(at, message)


class Lines:
    """Walks over physical lines, joining those that continue; raises DockerfileError."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._lines = text.removeprefix("\ufeff").split("\n")
        self._at = 0
        self._offset = len(text) - len(text.removeprefix("\ufeff"))
        self.escape = "\\"
        self._read_directives()

    def next_logical(self) -> LogicalLine | None:
        """Return the next logical line; None at the end."""
        first, characters, offsets = 0, [], list[int]()
        while self._at < len(self._lines):
            offset, raw = self._take()
            body = raw.removesuffix("\r").rstrip(BLANKS)
            if not body or body.lstrip(BLANKS).startswith("#"):
                continue  # comments and empty lines may stand inside a continuation too
            first = first or self._at
            continues = body.endswith(self.escape)
            body = body[:-1] if continues else body
            characters.append(body)
            offsets.extend(range(offset, offset + len(body)))
            if not continues:
                break
        return LogicalLine(first, "".join(characters), offsets, self) if first else None

    def heredoc(self, terminator: str, *, strip_tabs: bool, line: int) -> tuple[str, ...]:
        """Return the lines up to the one that is `terminator`; raises DockerfileError."""
        found: list[str] = []
        while self._at < len(self._lines):
            offset, raw = self._take()
            raw = raw.rstrip("\r")
            if (raw.lstrip("\t") if strip_tabs else raw) == terminator:
                return tuple(found)
            for at, char in enumerate(raw):
                if char == "\0" or unicodedata.category(char) == "Cs":
                    at_line, column = self.position(offset + at)
                    raise DockerfileError(at_line, "not UTF-8 text, or NUL", column)
            found.append(raw)
        raise DockerfileError(line, f"the heredoc {terminator} has no end")

    def position(self, offset: int) -> tuple[int, int]:
        """Return line and column of a character, counted from 1."""
        line_start = self._text.rfind("\n", 0, offset) + 1
        return self._text.count("\n", 0, offset) + 1, offset - line_start + 1

    def _take(self) -> tuple[int, str]:
        offset, raw = self._offset, self._lines[self._at]
        self._offset += len(raw) + 1
        self._at += 1
        return offset, raw

    def _read_directives(self) -> None:
        """Directives stand first, one a line; any other line ends them."""
        for raw in self._lines:
            match = _DIRECTIVE.fullmatch(raw.strip())
            if match is None:
                return
            if match[1].lower() == "escape":
                if match[2] not in {"\\", "`"}:
                    raise DockerfileError(1, f"escape={match[2]}: only \\ and ` can be")
                self.escape = match[2]
