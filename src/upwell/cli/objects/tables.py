"""Tables of objects, with the columns that their kind declares."""

from collections.abc import Iterable
from datetime import datetime

from upwell.api.meta import Kind, Resource
from upwell.cli.core.output import full_name
from upwell.cli.objects.table_style import TableStyle
from upwell.formats.printing.json_path import text_of
from upwell.formats.table_cells import cells, listed_columns


class Table:
    """Objects of one kind as lines of text."""

    def __init__(self, kind: Kind, style: TableStyle, listed: Iterable[Resource] = ()) -> None:
        self._style = style
        columns = listed_columns(kind, listed)
        self._columns = [one for one in columns if style.wide or not one.wide]

    def header(self) -> tuple[str, ...]:
        """Return the titles."""
        return self._style.titles([column.title for column in self._columns])

    def row(self, resource: Resource, now: datetime) -> tuple[str, ...]:
        """Return the texts of one object."""
        texts = [text_of(cell) for cell in cells(resource, self._columns, now)]
        if self._style.kinds and self._columns[0].path == "metadata.name":
            texts[0] = full_name(resource)
        return self._style.row(texts, resource.namespace, resource.labels)
