"""Environment files of Compose: `NAME=VALUE` lines, with quotes, comments and variables."""

import re
from collections.abc import Mapping

from upwell.formats.compose.interpolation import interpolate

_LINE = re.compile(
    r"(?:export\s+)?(?P<name>[A-Za-z_][A-Za-z0-9_.-]*)\s*(?:(?P<given>=)\s*(?P<rest>.*))?"
)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\", "$": "$$"}


class DotenvError(ValueError):
    """A line is no assignment; the message has its number, and never its value."""


def parse_dotenv(text: str, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the values by name; those before a line may be used in it.

    A name without a value takes that of `environment`, and is left out where that has none.
    Raises DotenvError, InterpolationError.
    """
    values: dict[str, str] = {}
    lines = iter(enumerate(text.removeprefix("\N{ZERO WIDTH NO-BREAK SPACE}").splitlines(), 1))
    for at, line in lines:
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        match = _LINE.fullmatch(stripped)
        if match is None:
            raise DotenvError(f"line {at} is no NAME=VALUE")
        name = match["name"]
        if match["given"] is None:
            if name in environment:
                values[name] = environment[name]
            continue
        rest = match["rest"]
        if rest[:1] in {"'", '"'}:
            while _closing(rest) < 0:
                try:
                    rest = f"{rest}\n{next(lines)[1]}"
                except StopIteration:
                    raise DotenvError(f"line {at}: a quote is not closed") from None
        values[name] = _value(rest, {**environment, **values})
    return values


def _closing(rest: str) -> int:
    """Return where the quote at the beginning ends; -1: it does not."""
    quote, at = rest[0], 1
    while at < len(rest):
        if rest[at] == "\\" and quote == '"':
            at += 1
        elif rest[at] == quote:
            return at
        at += 1
    return -1


def _value(rest: str, known: Mapping[str, str]) -> str:
    if rest[:1] == "'":
        return rest[1 : _closing(rest)]
    if rest[:1] == '"':
        quoted = rest[1 : _closing(rest)]
        inner = _ESCAPED.sub(lambda one: _ESCAPES.get(one[1], one[0]), quoted)
        return interpolate(inner, known, set())
    return interpolate(re.split(r"\s#", rest)[0].rstrip(), known, set())
