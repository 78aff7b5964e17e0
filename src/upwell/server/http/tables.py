"""Table output (meta.k8s.io/v1 Table): what `kubectl get` prints."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from upwell.api.codec import encode, encode_metadata_json
from upwell.api.meta import Column, Kind, Resource
from upwell.api.values.identity_cache import IdentityCache
from upwell.formats.table_cells import Age, Cell, at_time, cells, listed_columns, read_cells

type Document = dict[str, Any]

META_VERSION = "meta.k8s.io/v1"
_NAME_PATH = "metadata.name"
_KEPT_ROWS = 8192
"""Of some hundred bytes each, so that a table that is asked for again is not read again."""


def table(
    kind: Kind, resources: Iterable[Resource], now: datetime, include: str = "Metadata"
) -> Document:
    """Return the objects as a Table; `include` says how much of each a row has with it."""
    resources = list(resources)
    columns = listed_columns(kind, resources)
    rows = [table_row(kind, resource, now, include) for resource in resources]
    return {**_head(columns), "rows": rows}


def table_head(kind: Kind, resources: Iterable[Resource]) -> Document:
    """Return the Table of a list without its rows."""
    return _head(listed_columns(kind, resources))


def _head(columns: Sequence[Column]) -> Document:
    return {
        "kind": "Table",
        "apiVersion": META_VERSION,
        "metadata": {},
        "columnDefinitions": [_definition(column) for column in columns],
    }


def _definition(column: Column) -> Document:
    return {
        "name": column.title.title(),
        "type": column.type.of_table,
        "format": "name" if column.path == _NAME_PATH else "",
        "description": column.path,
        "priority": int(column.wide),
    }


@dataclass(frozen=True, slots=True)
class _Row:
    """Row of an object at any time, with its metadata."""

    cells: tuple[Cell | Age, ...]
    tail: bytes
    """JSON behind the cells."""


def _read_row(resource: Resource) -> _Row:
    tail = f',"object":{partial_metadata_json(resource)}}}'
    return _Row(read_cells(resource, resource.KIND.printed_columns), tail.encode())


_rows = IdentityCache(_read_row, _KEPT_ROWS)


def table_row_json(kind: Kind, resource: Resource, now: datetime, include: str) -> bytes:
    """Return the JSON of an object's row."""
    if include in {"Object", "None"} or kind is not resource.KIND:
        return json.dumps(table_row(kind, resource, now, include)).encode()
    row = _rows(resource)
    return b'{"cells":' + json.dumps(at_time(row.cells, now)).encode() + row.tail


def table_row(kind: Kind, resource: Resource, now: datetime, include: str) -> Document:
    """Return an object's row."""
    row: Document = {"cells": cells(resource, kind.printed_columns, now)}
    if include == "Object":
        row["object"] = encode(resource)
    elif include != "None":
        row["object"] = partial_metadata(resource)
    return row


def partial_metadata(resource: Resource) -> Document:
    """Return the metadata of an object alone (meta.k8s.io/v1 PartialObjectMetadata)."""
    document: Document = json.loads(partial_metadata_json(resource))
    return document


def partial_metadata_json(resource: Resource) -> str:
    """Return the JSON text of the metadata of an object alone."""
    head = f'"kind":"PartialObjectMetadata","apiVersion":"{META_VERSION}"'
    return f'{{{head},"metadata":{encode_metadata_json(resource)}}}'
