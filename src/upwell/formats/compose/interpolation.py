"""Interpolation of variables in Compose files, as the Compose Specification has it.

`$VAR`, `${VAR}`, `${VAR:-default}`, `${VAR-default}`, `${VAR:?error}`, `${VAR?error}`,
`${VAR:+value}`, `${VAR+value}` and `$$`, nested in their defaults.
"""

import re
from collections.abc import Mapping

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OPERATORS = (":-", ":?", ":+", "-", "?", "+")
MAX_NESTING = 20
MAX_LENGTH = 1024 * 1024
"""Of a value after interpolation."""


class InterpolationError(ValueError):
    """The text cannot be interpolated; the message says why, and never a value."""


def interpolate(text: str, values: Mapping[str, str], unset: set[str], nesting: int = 0) -> str:
    """Return `text` with its variables replaced; `unset` gets the names that have no value.

    Raises InterpolationError.
    """
    if "$" not in text:
        return text
    if nesting > MAX_NESTING:
        raise InterpolationError(f"variables are nested more than {MAX_NESTING} deep")
    parts: list[str] = []
    at = 0
    while (dollar := text.find("$", at)) >= 0:
        parts.append(text[at:dollar])
        at = dollar + 1
        if text[at : at + 1] == "$":
            parts.append("$")
            at += 1
        elif text[at : at + 1] == "{":
            end = _closing(text, at)
            parts.append(_braced(text[at + 1 : end], values, unset, nesting))
            at = end + 1
        elif match := _NAME.match(text, at):
            parts.append(_value(match[0], values, unset))
            at = match.end()
        else:
            raise InterpolationError(
                f"invalid interpolation format {text!r}: write $$ for a dollar"
            )
    parts.append(text[at:])
    result = "".join(parts)
    if len(result) > MAX_LENGTH:
        raise InterpolationError(f"longer than {MAX_LENGTH} characters once it is interpolated")
    return result


def _closing(text: str, opening: int) -> int:
    """Return where the brace that opens at `opening` is closed."""
    depth = 0
    for at in range(opening, len(text)):
        if text[at] == "{" and (at == opening or text[at - 1] == "$"):
            depth += 1
        elif text[at] == "}":
            depth -= 1
            if not depth:
                return at
    raise InterpolationError(f"invalid interpolation format {text!r}: a brace is not closed")


def _braced(inner: str, values: Mapping[str, str], unset: set[str], nesting: int) -> str:
    match = _NAME.match(inner)
    if match is None:
        raise InterpolationError(f"invalid interpolation format '${{{inner}}}': no variable's name")
    name, rest = match[0], inner[match.end() :]
    if not rest:
        return _value(name, values, unset)
    operator = next((one for one in _OPERATORS if rest.startswith(one)), "")
    if not operator:
        raise InterpolationError(f"invalid interpolation format '${{{inner}}}'")
    operand = rest[len(operator) :]
    found = values.get(name)
    has_value = bool(found) if operator.startswith(":") else found is not None
    match operator[-1]:
        case "-":
            return found or "" if has_value else interpolate(operand, values, unset, nesting + 1)
        case "+":
            return interpolate(operand, values, unset, nesting + 1) if has_value else ""
        case _ if has_value:
            return found or ""
        case _:
            why = interpolate(operand, values, unset, nesting + 1)
            raise InterpolationError(f"required variable {name} is missing a value: {why}")


def _value(name: str, values: Mapping[str, str], unset: set[str]) -> str:
    if name not in values:
        unset.add(name)
    return values.get(name, "")
