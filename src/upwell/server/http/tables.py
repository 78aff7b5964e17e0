"""Table output (meta.k8s.io/v1 Table): what `kubectl get` prints."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from upwell.api.codec import encode
from upwell.api.meta import Column, Kind, Resource
from upwell.formats.table_cells import cells

type Document = dict[str, Any]

META_VERSION = "meta.k8s.io/v1"
_NAME = Column("NAME", "metadata.name")


def table(
    kind: Kind, resources: Iterable[Resource], now: datetime, include: str = "Metadata"
) -> Document:
    """Return the objects as a Table; `include` says how much of each a row has with it."""
    columns = (_NAME, *kind.printed_columns)
    return {
        "kind": "Table",
        "apiVersion": META_VERSION,
        "metadata": {},
        "columnDefinitions": [_definition(column) for column in columns],
        "rows": [_row(resource, columns, now, include) for resource in resources],
    }


def _definition(column: Column) -> Document:
    return {
        "name": column.title.title(),
        "type": column.type.value,
        "format": "name" if column is _NAME else "",
        "description": column.path,
        "priority": int(column.wide),
    }


def _row(resource: Resource, columns: Sequence[Column], now: datetime, include: str) -> Document:
    row: Document = {"cells": cells(resource, columns, now)}
    if include == "Object":
        row["object"] = encode(resource)
    elif include != "None":
        row["object"] = partial_metadata(resource)
    return row


def partial_metadata(resource: Resource) -> Document:
    """Return the metadata of an object alone (meta.k8s.io/v1 PartialObjectMetadata)."""
    return {
        "kind": "PartialObjectMetadata",
        "apiVersion": META_VERSION,
        "metadata": encode(resource).get("metadata", {}),
    }
