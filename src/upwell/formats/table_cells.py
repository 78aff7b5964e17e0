"""Cells of the tables of `get`: the same for kubectl, which a server answers, and for our CLI."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from upwell.api.meta import Column, ColumnType, Kind, Resource
from upwell.formats.human_duration import elapsed_words, human_duration
from upwell.formats.printing.json_path import text_of, values_at

type Cell = str | int
"""A cell of an integer or boolean column is a number or a truth value, where there is one."""

NO_VALUE = "<none>"


@dataclass(frozen=True, slots=True)
class Age:
    """A cell that tells how long ago a time was: another one each second."""

    since: datetime
    in_words: bool = False

    def at(self, now: datetime) -> str:
        """Return the cell as it is at a time."""
        if self.in_words:
            return f"{elapsed_words(now - self.since)} ago"
        return human_duration(now - self.since)


def cells(resource: Resource, columns: Iterable[Column], now: datetime) -> list[Cell]:
    """Return the cells of an object; fields that were never set have their defaults."""
    return at_time(read_cells(resource, columns), now)


def at_time(read: Iterable[Cell | Age], now: datetime) -> list[Cell]:
    """Return cells as they are at a time."""
    return [cell.at(now) if isinstance(cell, Age) else cell for cell in read]


def read_cells(resource: Resource, columns: Iterable[Column]) -> tuple[Cell | Age, ...]:
    """Return all that an object's cells say at any time."""
    # No column shows who manages which field, which is more than all that columns show.
    document = resource.model_dump(
        mode="json", by_alias=True, exclude={"metadata": {"managed_fields"}}
    )
    return tuple(_cell(document, column) for column in columns)


def listed_columns(kind: Kind, resources: Iterable[Resource]) -> list[Column]:
    """Return the columns of a list: those in which something is notable are narrow."""
    listed = list(resources)
    return [
        replace(column, wide=not any(map(column.notable, listed))) if column.notable else column
        for column in kind.printed_columns
    ]


def _cell(document: dict[str, Any], column: Column) -> Cell | Age:
    values = _found(document, column)
    if not values:
        return column.empty
    match column.type:
        case ColumnType.DATE | ColumnType.AGO:
            since = datetime.fromisoformat(values[0])
            return Age(since, in_words=column.type is ColumnType.AGO)
        case ColumnType.SPAN:
            age = Age(datetime.fromisoformat(values[0]))
            ends = values_at(document, column.until) if column.until else []
            return age.at(datetime.fromisoformat(ends[0])) if ends else age
        case ColumnType.INTEGER | ColumnType.BOOLEAN:
            value: int = values[0]
            return value
        case ColumnType.STRING:
            return ",".join(text_of(value) for value in values)


def _found(document: dict[str, Any], column: Column) -> list[Any]:
    if column.text is None:
        return values_at(document, column.path)
    text = column.text(document)
    return [text] if text else []
