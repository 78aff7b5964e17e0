"""Variable substitution in Dockerfile words (Dockerfile reference, Environment replacement)."""

import re
from collections.abc import Mapping

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OPERATORS = (":-", ":+", "-", "+")


class SubstitutionError(ValueError):
    """The word is not one that can be substituted."""


def substitute(word: str, values: Mapping[str, str]) -> str:
    """Expand `$X`, `${X}`, `${X:-default}` and `${X:+other}`, and take quotes away.

    A variable without a value becomes empty, as in a shell. Raises SubstitutionError.
    """
    result, at, quote = [], 0, ""
    while at < len(word):
        char = word[at]
        if char == "\\" and quote != "'" and at + 1 < len(word):
            result.append(word[at + 1])
            at += 2
        elif char in "\"'" and quote in {"", char}:
            quote = "" if quote else char
            at += 1
        elif char == "$" and quote != "'":
            value, at = _variable(word, at + 1, values)
            result.append(value)
        else:
            result.append(char)
            at += 1
    return "".join(result)


def _variable(word: str, at: int, values: Mapping[str, str]) -> tuple[str, int]:
    """Expand the variable whose name or brace stands at `at`; return it and where it ends."""
    braced = word[at : at + 1] == "{"
    match = _NAME.match(word, at + braced)
    if match is None:
        if braced:
            raise SubstitutionError(f"{word!r}: no variable name after ${{")
        return "$", at
    value = values.get(match[0])
    if not braced:
        return value or "", match.end()
    end = _closing_brace(word, match.end())
    modifier = word[match.end() : end]
    return _modified(word, modifier, value, values), end + 1


def _modified(word: str, modifier: str, value: str | None, values: Mapping[str, str]) -> str:
    if not modifier:
        return value or ""
    operator = next((known for known in _OPERATORS if modifier.startswith(known)), None)
    if operator is None:
        raise SubstitutionError(f"{word!r}: the modifier {modifier!r} is not supported")
    present = bool(value) if operator.startswith(":") else value is not None
    alternative = modifier.removeprefix(operator)
    if operator.endswith("-"):
        return value or "" if present else substitute(alternative, values)
    return substitute(alternative, values) if present else ""


def _closing_brace(word: str, at: int) -> int:
    depth = 1
    for index in range(at, len(word)):
        if word[index] == "{" and word[index - 1] == "$":
            depth += 1
        elif word[index] == "}":
            depth -= 1
            if depth == 0:
                return index
    raise SubstitutionError(f"{word!r}: a {{ is not closed")
