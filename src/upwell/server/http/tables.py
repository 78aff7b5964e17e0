"""Table output (meta.k8s.io/v1 Table): what `kubectl get` prints."""

import re
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

from upwell.api.codec import encode
from upwell.api.meta import Column, Kind, Resource

type Document = dict[str, Any]

_API_VERSION = "meta.k8s.io/v1"
_STEP = re.compile(r"(?P<name>[^.\[]+)(?P<all>\[\*\])?")
_NOTHING = "<none>"
_UNITS = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))
_AGE = Column("AGE", "metadata.creationTimestamp")


def table(
    kind: Kind, resources: Iterable[Resource], now: datetime, include: str = "Metadata"
) -> Document:
    """Return the objects as a Table; `include` says how much of each a row has with it."""
    columns = _columns(kind)
    return {
        "kind": "Table",
        "apiVersion": _API_VERSION,
        "metadata": {},
        "columnDefinitions": [
            {
                "name": column.title.title(),
                "type": "string",
                "format": "name" if column.path == "metadata.name" else "",
                "description": column.path,
                "priority": int(column.wide),
            }
            for column in columns
        ],
        "rows": [_row(resource, columns, now, include) for resource in resources],
    }


def _columns(kind: Kind) -> list[Column]:
    return [
        Column("NAME", "metadata.name"),
        *(column for column in kind.columns if not column.wide),
        _AGE,
        *(column for column in kind.columns if column.wide),
    ]


def _row(resource: Resource, columns: Iterable[Column], now: datetime, include: str) -> Document:
    document = encode(resource)
    row: Document = {"cells": [_cell(document, column, now) for column in columns]}
    if include == "Object":
        row["object"] = document
    elif include != "None":
        row["object"] = {
            "kind": "PartialObjectMetadata",
            "apiVersion": _API_VERSION,
            "metadata": document.get("metadata", {}),
        }
    return row


def _cell(document: Document, column: Column, now: datetime) -> Any:
    if column.text is not None:
        return column.text(document)
    found = [_text(value) for value in _values(document, column.path.split("."))]
    if not found:
        return _NOTHING
    if column.path.endswith("Timestamp"):
        return age(found[0], now)
    return ",".join(found)


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _values(value: Any, steps: list[str]) -> Iterator[Any]:
    """Yield what is at a path such as `spec.tags[*].name`."""
    if not steps:
        if value not in (None, "", [], {}):
            yield value
        return
    match = _STEP.fullmatch(steps[0])
    if match is None or not isinstance(value, dict):
        return
    inner = value.get(match["name"])
    for item in (inner or []) if match["all"] else [inner]:
        yield from _values(item, steps[1:])


def age(time: str, now: datetime) -> str:
    """Return how long ago an RFC 3339 time was, as kubectl prints it: `3d4h`, `5m10s`."""
    try:
        seconds = int((now - datetime.fromisoformat(time)).total_seconds())
    except (ValueError, TypeError):
        return _NOTHING
    seconds = max(0, seconds)
    for at, (unit, size) in enumerate(_UNITS):
        count, rest = divmod(seconds, size)
        if not count:
            continue
        text = f"{count}{unit}"
        if count < 10 and at + 1 < len(_UNITS):  # noqa: PLR2004 - more digits say enough alone
            smaller, smaller_size = _UNITS[at + 1]
            if part := rest // smaller_size:
                text += f"{part}{smaller}"
        return text
    return "0s"
