"""Large JSON texts without some of their parts, which are skipped before any value is made of them.

The work is bounded in steps, between which other threads get their turn.
"""

import json
import re
from collections.abc import Set as AbstractSet

MAX_STEPS = 400_000
"""Of lists, objects, and what stands around the parts: some tenths of a second. Real reviews of
8 MiB have a tenth of it."""
_STRING = rb'"(?:[^"\\]++|\\.)*+"'
_TOKEN = re.compile(_STRING + rb"|[{}\[\]:,]", re.DOTALL)
_BRACKET = re.compile(rb'(?:[^"{}\[\]]++|' + _STRING + rb")*+([{}\[\]])", re.DOTALL)
_SCALAR_END = re.compile(rb"[,}\]]")

type Path = tuple[str, ...]
"""Keys of objects, from the outermost; what is in a list has none."""


class TooManyStepsError(ValueError):
    """The text takes more steps than any real one."""


def without_parts(raw: bytes, parts: AbstractSet[Path]) -> bytes:
    """Return a JSON text with null in the place of the values at these paths.

    Of what is no JSON, the result is none either, unless the fault is in what was left out. Raises
    TooManyStepsError.
    """
    longest = max(map(len, parts), default=0)
    stack: list[str | None] = []
    """The present key of each object that is open; None of a list."""
    kept: list[bytes] = []
    kept_to = at = steps = 0
    text = b""
    while (token := _TOKEN.search(raw, at)) is not None:
        found, at = token[0], token.end()
        steps += 1
        if steps > MAX_STEPS:
            raise TooManyStepsError
        if found[:1] == b'"':
            text = found
        elif found in b"{[":
            stack.append("" if found == b"{" else None)
        elif found in b"}]":
            if stack:
                stack.pop()
        elif found == b":" and stack and len(stack) <= longest:
            stack[-1] = _key(text)
            if tuple(stack) in parts:
                kept += (raw[kept_to:at], b"null")
                kept_to, steps = _end_of_value(raw, at, steps)
                at = kept_to
    return b"".join((*kept, raw[kept_to:]))


def _end_of_value(raw: bytes, start: int, steps: int) -> tuple[int, int]:
    """Return where the value ends that begins there, and the steps with those that it takes."""
    begin = raw[start : start + 64].lstrip()[:1]
    if begin == b'"':
        string = _TOKEN.search(raw, start)
        return (string.end() if string is not None else len(raw)), steps
    if begin not in {b"{", b"["}:
        end = _SCALAR_END.search(raw, start)
        return (end.start() if end is not None else len(raw)), steps
    depth, at = 0, start
    while (bracket := _BRACKET.match(raw, at)) is not None:
        at, steps = bracket.end(), steps + 1
        depth += 1 if bracket[1] in b"{[" else -1
        if not depth:
            return at, steps
        if steps > MAX_STEPS:
            raise TooManyStepsError
    return len(raw), steps


def _key(text: bytes) -> str:
    try:
        return str(json.loads(text))
    except ValueError:
        return ""  # whoever reads the whole says what is wrong with it
