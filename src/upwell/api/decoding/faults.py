"""Faults of wire data, as pydantic finds them, in Kubernetes' words and with a user's paths."""

import re

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from upwell.api.values.faults import MAX_FAULTS, CauseType, Fault


def faults_of(error: ValidationError) -> tuple[Fault, ...]:
    """Return the faults, one for each path; of far too many the first."""
    found: dict[str, Fault] = {}
    for detail in error.errors(include_url=False):
        if len(found) > MAX_FAULTS:
            break
        fault = _fault(_path(detail), detail)
        earlier = found.get(fault.path)
        if earlier is None or fault.cause is CauseType.REQUIRED:
            found[fault.path] = fault
        elif fault.message not in earlier.message:
            both = f"{earlier.message} or {fault.message.removeprefix('expected ')}"
            found[fault.path] = Fault(fault.path, both, earlier.cause)
    return tuple(found.values())


_BOUNDS = {
    "greater_than": ("gt", "greater than"),
    "greater_than_equal": ("ge", "greater than or equal to"),
    "less_than": ("lt", "less than"),
    "less_than_equal": ("le", "less than or equal to"),
}
"""By pydantic's type of an error: where it tells the bound, and Kubernetes' words for it."""
_NAMES = re.compile(r"'([^']*)'")
"""Of the values that pydantic says there are: 'A', 'B' or 'C'."""


def _fault(path: str, detail: ErrorDetails) -> Fault:
    """Return the fault of what pydantic found."""
    kind, value, context = detail["type"], detail["input"], detail.get("ctx", {})
    if kind == "missing":
        return Fault.required(path)
    if kind in _BOUNDS:
        bound, words = _BOUNDS[kind]
        return Fault.invalid(path, value, f"must be {words} {context[bound]}")
    if kind in {"enum", "literal_error"} and isinstance(value, str):
        return Fault.not_supported(path, value, sorted(_NAMES.findall(context["expected"])))
    return Fault(path, _message(detail), _cause(kind))


_UNION_MEMBERS = {"int", "str", "float", "bool"}
"""pydantic adds the tried type of a union to the path; a user's path has no such step."""


def _path(detail: ErrorDetails) -> str:
    steps = list(detail["loc"])
    if len(steps) > 1 and steps[-1] in _UNION_MEMBERS:
        steps.pop()
    text = ""
    for step in steps:
        text += f"[{step}]" if isinstance(step, int) else f".{step}"
    return text.removeprefix(".")


_EXPECTED = {
    "string_type": "a string",
    "int_type": "an integer",
    "float_type": "a number",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "an object",
    "model_type": "an object",
    "datetime_type": "an RFC 3339 time",
}


def _cause(kind: str) -> CauseType:
    """Return the type of a fault that pydantic calls `kind`."""
    if kind in _EXPECTED:
        return CauseType.TYPE
    return CauseType.NOT_SUPPORTED if kind == "enum" else CauseType.INVALID


def _message(detail: ErrorDetails) -> str:
    expected = _EXPECTED.get(detail["type"])
    if expected is None:
        return detail["msg"].removeprefix("Input ").removeprefix("Value error, ")
    return f"expected {expected}, found {_describe(detail['input'])}"


def _describe(value: object) -> str:
    """Describe a wrong value by its type only: it may be a secret."""
    names = {str: "a string", bool: "true or false", int: "a number", float: "a number"}
    if value is None:
        return "null"
    if isinstance(value, list):
        return "a list"
    return names.get(type(value), "an object")
