"""Tables of objects, with the columns that their kind declares."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from upwell.api.meta import Kind, Resource
from upwell.cli.core.output import full_name
from upwell.formats.printing.json_path import text_of
from upwell.formats.table_cells import NO_VALUE, cells, listed_columns


@dataclass(frozen=True, slots=True)
class TableStyle:
    """Choice of the columns of a table of objects."""

    wide: bool = False
    namespaces: bool = False
    """A column with the namespace."""
    kinds: bool = False
    """Names with their kind, for tables of several kinds."""
    label_columns: tuple[str, ...] = ()
    """Keys of labels with a column each."""
    labels: bool = False
    """A column with all labels."""


class Table:
    """Objects of one kind as lines of text."""

    def __init__(self, kind: Kind, style: TableStyle, listed: Iterable[Resource] = ()) -> None:
        self._style = style
        columns = listed_columns(kind, listed)
        self._columns = [one for one in columns if style.wide or not one.wide]

    def header(self) -> tuple[str, ...]:
        """Return the titles."""
        titles = tuple(column.title for column in self._columns)
        titles += tuple(key.rsplit("/", 1)[-1].upper() for key in self._style.label_columns)
        titles += ("LABELS",) if self._style.labels else ()
        return ("NAMESPACE", *titles) if self._style.namespaces else titles

    def row(self, resource: Resource, now: datetime) -> tuple[str, ...]:
        """Return the texts of one object."""
        texts = tuple(map(text_of, cells(resource, self._columns, now)))
        if self._style.kinds and self._columns[0].path == "metadata.name":
            texts = (full_name(resource), *texts[1:])
        labels = resource.labels
        texts += tuple(labels.get(key) or NO_VALUE for key in self._style.label_columns)
        if self._style.labels:
            texts += (",".join(f"{key}={labels[key]}" for key in sorted(labels)) or NO_VALUE,)
        return (resource.namespace, *texts) if self._style.namespaces else texts
