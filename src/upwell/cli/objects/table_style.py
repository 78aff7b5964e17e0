"""Choice of the columns of a table of objects, and what it adds to the cells of a kind."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

NO_VALUE = "<none>"


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

    def titles(self, titles: Sequence[str]) -> tuple[str, ...]:
        """Return the titles of a kind's columns with those of the others."""
        found = (*titles, *(key.rsplit("/", 1)[-1].upper() for key in self.label_columns))
        found += ("LABELS",) if self.labels else ()
        return ("NAMESPACE", *found) if self.namespaces else found

    def row(
        self, texts: Sequence[str], namespace: str, labels: Mapping[str, str]
    ) -> tuple[str, ...]:
        """Return the texts of a kind's columns with those of the others."""
        found = (*texts, *(labels.get(key) or NO_VALUE for key in self.label_columns))
        if self.labels:
            found += (",".join(f"{key}={labels[key]}" for key in sorted(labels)) or NO_VALUE,)
        return (namespace, *found) if self.namespaces else found
