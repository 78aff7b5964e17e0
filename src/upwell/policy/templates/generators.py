"""Values generated from an expression such as `admin-[a-z0-9]{8}` (OpenShift Templates)."""

import re
import string
from collections.abc import Callable

MAX_LENGTH = 255
"""Of one generated piece, as in OpenShift."""
MAX_PIECES = 100

_PIECE = re.compile(r"\[(?P<ranges>[A-Za-z0-9\\-]+)\]\{(?P<length>[0-9]+)\}")
_RANGE = re.compile(r"\\(?P<class>.)|(?P<first>[A-Za-z0-9])(?:-(?P<last>[A-Za-z0-9]))?|(?P<odd>.)")
_CLASSES = {
    "w": string.ascii_letters + string.digits + "_",
    "d": string.digits,
    "a": string.ascii_letters + string.digits,
    "A": string.punctuation,
}


class GeneratorError(ValueError):
    """The expression is not one that values can be generated from."""


def generate_value(expression: str, choose: Callable[[str], str]) -> str:
    r"""Return `expression` with each `[ranges]{length}` replaced by characters of the ranges.

    A range is `a-z`, a single letter or digit, `\w` (letters, digits, `_`), `\d` (digits), `\a`
    (letters and digits) or `\A` (punctuation). Raises GeneratorError.
    """
    pieces = list(_PIECE.finditer(expression))
    if len(pieces) > MAX_PIECES:
        raise GeneratorError(f"more than {MAX_PIECES} generated pieces")
    result, at = [], 0
    for piece in pieces:
        alphabet = _alphabet(piece["ranges"])
        result.append(expression[at : piece.start()])
        result.extend(choose(alphabet) for _ in range(_length(piece)))
        at = piece.end()
    return "".join(result) + expression[at:]


def _length(piece: re.Match[str]) -> int:
    # Digits first: a number of millions of digits must not be parsed.
    digits = piece["length"].lstrip("0")
    if not digits or len(digits) > len(str(MAX_LENGTH)) or int(digits) > MAX_LENGTH:
        raise GeneratorError(f"{piece[0]!r}: the length must be 1 to {MAX_LENGTH}")
    return int(digits)


def _alphabet(ranges: str) -> str:
    characters: dict[str, None] = {}
    for match in _RANGE.finditer(ranges):
        if match["odd"] is not None:
            raise GeneratorError(f"[{ranges}]: {match['odd']!r} stands between no two characters")
        characters |= dict.fromkeys(_members(match, ranges))
    return "".join(characters)


def _members(match: re.Match[str], ranges: str) -> str:
    if match["class"] is not None:
        try:
            return _CLASSES[match["class"]]
        except KeyError:
            raise GeneratorError(
                f"[{ranges}]: {match[0]!r} is no class; there are \\w, \\d, \\a and \\A"
            ) from None
    first, last = match["first"], match["last"] or match["first"]
    if last < first:
        raise GeneratorError(f"[{ranges}]: the range {match[0]!r} is the wrong way round")
    return "".join(chr(code) for code in range(ord(first), ord(last) + 1))
