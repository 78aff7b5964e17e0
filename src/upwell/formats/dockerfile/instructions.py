"""The instructions of a Dockerfile, each read once: flags, arguments, heredocs."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from upwell.formats.dockerfile.lines import BLANKS, DockerfileError, Lines, LogicalLine, Word

KEYWORDS = frozenset(
    {
        *("ADD", "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK"),
        *("LABEL", "MAINTAINER", "ONBUILD", "RUN", "SHELL", "STOPSIGNAL", "USER", "VOLUME"),
        "WORKDIR",
    }
)
_NOT_IN_TRIGGERS = frozenset({"FROM", "ONBUILD", "MAINTAINER"})
_WITH_HEREDOC = frozenset({"RUN", "COPY", "ADD"})
_WITH_JSON = frozenset({"ADD", "CMD", "COPY", "ENTRYPOINT", "RUN", "SHELL", "VOLUME"})
_HEALTH_COMMAND = re.compile(r"CMD[ \t]+", re.IGNORECASE)

_MAYBE_HEREDOC = re.compile(r"\d*<<-?[^<]+")
"""Pattern of all that some reader takes for the begin of a heredoc."""

_HEREDOC = re.compile(r"\d*<<(-?)([\"']?)([A-Za-z0-9_.][A-Za-z0-9_.+-]*)\2")
_VARIABLE = re.compile(r"\$\{[A-Za-z_][A-Za-z0-9_]*(?::?[-+][^{}$\"'\\`]*)?\}")
_FLAG = re.compile(r"--[a-z][a-z-]*(?:=[!-~]*)?")


@dataclass(frozen=True, slots=True)
class Heredoc:
    """The text that follows an instruction up to `name`, and the lines of it."""

    name: str
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Flag:
    """A flag of an instruction without its quotes, and where it stands in the text."""

    name: str
    value: str | None
    start: int
    end: int

    def __str__(self) -> str:
        return self.name if self.value is None else f"{self.name}={self.value}"


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction without its comments and continuations."""

    keyword: str
    """In capitals."""
    line: int
    flags: tuple[Flag, ...]
    words: tuple[Word, ...]
    """Those after the flags; quotes hold a word together, and stay in it."""
    rest: str
    """Text after the flags, as it stands in the logical line."""
    array: tuple[str, ...] | None = None
    """The strings of its JSON form, where it has one."""
    heredocs: tuple[Heredoc, ...] = ()
    trigger: "Instruction | None" = None
    """Of ONBUILD, the instruction that it holds."""

    @property
    def arguments(self) -> Sequence[str]:
        """The strings of the JSON form, or what blanks separate."""
        return self.rest.split() if self.array is None else self.array


@dataclass(frozen=True, slots=True)
class Script:
    """Instructions of a text, and the character that escapes in them."""

    escape: str
    instructions: tuple[Instruction, ...]


def read(text: str) -> Script:
    """Read all instructions of `text`; raises DockerfileError."""
    lines = Lines(text)
    found = []
    while (logical := lines.next_logical()) is not None:
        if instruction := _instruction(logical, lines):
            found.append(instruction)
    return Script(lines.escape, tuple(found))


def instructions(text: str) -> Iterator[Instruction]:
    """Yield the instructions of `text`; raises DockerfileError."""
    yield from read(text).instructions


def _instruction(
    logical: LogicalLine, lines: Lines, *, is_trigger: bool = False
) -> Instruction | None:
    words = list(logical.words(lines.escape))
    if not words:
        return None
    keyword = words[0].text.upper()
    if keyword not in KEYWORDS or (is_trigger and keyword in _NOT_IN_TRIGGERS):
        where = "ONBUILD takes no instruction" if is_trigger else "there is no instruction"
        raise logical.refusal(words[0].at, f"{where} {words[0].text}")
    count = 1
    while count < len(words) and words[count].text.startswith("--"):
        count += 1
    flags = tuple(_flag(word, logical) for word in words[1:count])
    begin = words[count].at if count < len(words) else len(logical.text)
    rest = logical.text[begin:].rstrip(BLANKS)
    if rest.endswith(lines.escape):
        raise logical.refusal(len(logical.text) - 1, f"nothing follows {lines.escape}")
    array = _array(keyword, rest, logical, begin)
    heredocs: tuple[Heredoc, ...] = ()
    if keyword in _WITH_HEREDOC and array is None:
        heredocs = tuple(_heredocs(words[count:], rest, logical, lines))
    trigger = None
    if keyword == "ONBUILD":
        trigger = _instruction(logical.part(begin), lines, is_trigger=True) if rest else None
        if trigger is None or flags:
            raise DockerfileError(logical.line, "ONBUILD takes an instruction")
    return Instruction(
        keyword, logical.line, flags, tuple(words[count:]), rest, array, heredocs, trigger
    )


def _flag(word: Word, logical: LogicalLine) -> Flag:
    """Read a flag as every reader does; one that they would read differently is refused."""
    text = re.sub(r"\"([^\"]*)\"|'([^']*)'", r"\1\2", word.text)
    if _FLAG.fullmatch(text) is None or any(sign in text for sign in "\"'\\`"):
        raise logical.refusal(word.at, f"{word.text} is not a flag such as --name=value")
    name, equals, value = text.partition("=")
    return Flag(name, value if equals else None, word.start, word.end)


def _array(keyword: str, rest: str, logical: LogicalLine, begin: int) -> tuple[str, ...] | None:
    """Return the strings of the JSON form; None: it is in another form."""
    if keyword == "HEALTHCHECK" and (command := _HEALTH_COMMAND.match(rest)):
        rest, begin = rest[command.end() :], begin + command.end()
    elif keyword not in _WITH_JSON:
        return None
    if not rest.startswith("["):
        return None
    try:
        found, end = json.JSONDecoder().raw_decode(rest)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, list) or not all(isinstance(word, str) for word in found):
        raise logical.refusal(begin, "an array of JSON may hold strings alone")
    if end < len(rest):
        raise logical.refusal(begin + end, "something follows the array of JSON")
    if any("\ud800" <= char <= "\udfff" for word in found for char in word):
        raise logical.refusal(begin, "half of a surrogate pair is no text")
    return tuple(found)


def _heredocs(
    words: Sequence[Word], rest: str, logical: LogicalLine, lines: Lines
) -> Iterator[Heredoc]:
    begins = [word for word in words if _MAYBE_HEREDOC.fullmatch(word.text)]
    if begins and "${" in _VARIABLE.sub("", rest):
        raise logical.refusal(begins[0].at, "a heredoc beside ${…} with more than a default")
    for word in begins:
        match = _HEREDOC.fullmatch(word.text)
        if match is None:
            message = f"{word.text} is not the begin of a heredoc with a plain name, such as <<EOF"
            raise logical.refusal(word.at, message)
        body = lines.heredoc(match[3], strip_tabs=bool(match[1]), line=logical.line)
        yield Heredoc(match[3], body)
