"""Table output (meta.k8s.io/v1 Table): what `kubectl get` prints."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from upwell.api.codec import encode, encode_metadata
from upwell.api.meta import Column, Kind, Resource
from upwell.formats.table_cells import cells, listed_columns

type Document = dict[str, Any]

META_VERSION = "meta.k8s.io/v1"
_NAME_PATH = "metadata.name"


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
    return {
        "kind": "PartialObjectMetadata",
        "apiVersion": META_VERSION,
        "metadata": encode_metadata(resource),
    }
