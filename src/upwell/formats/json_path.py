"""Paths into JSON data, in the part of kubectl's JSONPath that names fields and list items."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

_STEP = re.compile(
    r"(?P<name>[^\[\]]+)"
    r"(?:\[(?:(?P<at>\*|\d{1,6})|\?\(@\.(?P<field>\w+)==\"(?P<value>[^\"]*)\"\))\])?"
)


def values_at(document: object, path: str) -> list[Any]:
    """Return the values at a path such as `spec.containers[*].image`; none when it ends early.

    `[0]` stands for the first of a list, `[?(@.type=="Ready")]` for those with that value.
    """
    found = [document]
    for match in _STEP.finditer(path):
        name = match["name"].strip(".")
        for step in name.split("."):
            found = [item[step] for item in found if isinstance(item, Mapping) and step in item]
        if (field := match["field"]) is not None:
            found = [item for items in found for item in _having(items, field, match["value"])]
        elif (at := match["at"]) is not None:
            part = slice(None) if at == "*" else slice(int(at), int(at) + 1)
            found = [item for items in found if isinstance(items, list) for item in items[part]]
    return [value for value in found if value not in (None, "")]


def _having(items: object, field: str, value: str) -> Iterator[Any]:
    """Yield the items of a list whose field has that value."""
    for item in items if isinstance(items, list) else ():
        if isinstance(item, Mapping) and item.get(field) == value:
            yield item


def text_of(value: object) -> str:
    """Return a scalar as kubectl prints it: `true`, `3`, `shop`."""
    return str(value).lower() if isinstance(value, bool) else str(value)
