"""Cells of the tables of `get`: the same for kubectl, which a server answers, and for our CLI."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from upwell.api.meta import Column, ColumnType, Resource
from upwell.formats.human_duration import human_duration
from upwell.formats.printing.json_path import text_of, values_at

type Cell = str | int
"""A cell of an integer or boolean column is a number or a truth value, where there is one."""

NO_VALUE = "<none>"


def cells(resource: Resource, columns: Iterable[Column], now: datetime) -> list[Cell]:
    """Return the cells of an object; fields that were never set have their defaults."""
    document = resource.model_dump(mode="json", by_alias=True)
    return [_cell(document, column, now) for column in columns]


def _cell(document: dict[str, Any], column: Column, now: datetime) -> Cell:
    if column.text is not None:
        return column.text(document) or NO_VALUE
    values = values_at(document, column.path)
    if not values:
        return NO_VALUE
    match column.type:
        case ColumnType.DATE:
            return human_duration(now - datetime.fromisoformat(values[0]))
        case ColumnType.INTEGER | ColumnType.BOOLEAN:
            value: int = values[0]
            return value
        case ColumnType.STRING:
            return ",".join(text_of(value) for value in values)
