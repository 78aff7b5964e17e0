"""Rules of the HTTP headers that a Route sets or deletes."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from upwell.api.validation.shapes import Check, listed, record, text
from upwell.api.values.faults import Fault

_MAX_HEADERS = 20
_MAX_NAME, _MAX_VALUE = 255, 16_384
_NAME = re.compile(r"[-!#$%&'*+.0-9A-Z^_`a-z|~]+")
_NOT_CHANGED = ("strict-transport-security", "proxy", "cookie", "set-cookie")
_ACTIONS = ("Set", "Delete")


def _name_problem(name: str) -> str:
    if len(name) > _MAX_NAME:
        return f"name exceeds the maximum length, which is {_MAX_NAME}"
    if name.lower() in _NOT_CHANGED:
        return f"the following headers may not be modified: {', '.join(_NOT_CHANGED)}"
    if _NAME.fullmatch(name) is None:
        return "name must be a valid HTTP header name as defined in RFC 2616 section 4.2"
    return ""


def _value_problem(value: str) -> str:
    if len(value) > _MAX_VALUE:
        return f"value exceeds the maximum length, which is {_MAX_VALUE}"
    return "" if value.isprintable() else "must be a valid HTTP header value"


def _action(value: Mapping[str, Any], path: str) -> Iterator[Fault]:
    kind = value.get("type") or ""
    if kind not in _ACTIONS:
        yield Fault.invalid(f"{path}.type", kind, 'type must be "Set" or "Delete"')
    if (kind == "Set") != (value.get("set") is not None):
        why = "set is required when type is Set, and forbidden otherwise"
        yield Fault.required(f"{path}.set", why)


_HEADER = record(
    {
        "name": text(_name_problem),
        "action": record(
            {"type": text(), "set": record({"value": text(_value_problem)}, required=("value",))},
            _action,
        ),
    },
    required=("name", "action"),
)
_HEADERS = listed(_HEADER, unique="name", most=_MAX_HEADERS)
header_faults: Check = record({"actions": record({"request": _HEADERS, "response": _HEADERS})})
"""Check `spec.httpHeaders`."""
