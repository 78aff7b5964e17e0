"""Options of `upwell get`, and a call of it."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from upwell.cli.core.output import Format
from upwell.cli.objects.table_style import TableStyle


@dataclass(slots=True)
class ListOptions:
    """Options of tables, of the order, and of what is missing."""

    sort_by: str = ""
    label_columns: tuple[str, ...] = ()
    show_labels: bool = False
    show_kind: bool = False
    no_headers: bool = False
    ignore_not_found: bool = False
    sources: tuple[str, ...] = ()
    recursive: bool = False


@dataclass(frozen=True, slots=True)
class ListRequest:
    """Kinds or objects in the user's words, what selects among them, and the output format."""

    what: Sequence[str]
    namespace: str
    """Empty: that of all."""
    all_namespaces: bool
    labels: str
    fields: str
    watch: bool
    output: str
    options: ListOptions = field(default_factory=ListOptions)

    @property
    def tabular(self) -> bool:
        """True if the output is a table."""
        return self.output in {Format.TABLE, Format.WIDE}

    def style(self, *, namespaced: bool, kinds: bool) -> TableStyle:
        """Return the style of a table of one kind; `kinds` if there are others."""
        return TableStyle(
            wide=self.output == Format.WIDE,
            namespaces=self.all_namespaces and namespaced,
            kinds=kinds or self.options.show_kind,
            label_columns=self.options.label_columns,
            labels=self.options.show_labels,
        )
