"""Output of results: JSON, YAML, names or a table with ages."""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Self, override

import click

from upwell.cli.core.terminal import echo, json_shown, shown
from upwell.formats.human_duration import human_duration

if TYPE_CHECKING:
    from upwell.api.meta import Resource
    from upwell.cli.core.templates import OutputTemplate

MISSING = "-"
_PINNED = re.compile(r"(?:[^\s@=(]+@)?sha256:([0-9a-f]{12})[0-9a-f]{52}")
_GAP = "   "


class Format(StrEnum):
    """Output formats of `-o`."""

    TABLE = "table"
    WIDE = "wide"
    NAME = "name"
    JSON = "json"
    YAML = "yaml"
    DOT = "dot"
    """Graphviz's language."""
    MERMAID = "mermaid"


class OutputFormat(str):
    """An output format that was given; with a template, that is what it is about."""

    __slots__ = ("template",)
    template: "OutputTemplate | None"

    def __new__(cls, text: str, template: "OutputTemplate | None" = None) -> Self:  # noqa: D102
        made = super().__new__(cls, text)
        made.template = template
        return made


class OutputType(click.ParamType[OutputFormat]):
    """Type of `-o`: a format by its name or, where there is JSON, a template of the user's."""

    name = "format"

    def __init__(self, formats: Sequence[str], *, columns: bool) -> None:
        self._formats = formats
        self._columns = columns

    @override
    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        return f"[{'|'.join(self._formats)}]"

    @override
    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> OutputFormat:
        if isinstance(value, OutputFormat):
            return value
        text = str(value).removeprefix("=")  # `-o=json`, as kubectl takes it
        if text in self._formats:
            return OutputFormat(text)
        known = list(self._formats)
        found = None
        if Format.JSON in self._formats:
            from upwell.cli.core import templates  # noqa: PLC0415 - most calls have no template

            form, _, template = text.partition("=")
            found = templates.read_template(form, template, columns=self._columns)
            known += [f"{name}=…" for name in templates.known_forms(columns=self._columns)]
        if found is None:
            self.fail(f"{text!r} is not one of {', '.join(known)}", param, ctx)
        return OutputFormat(text, found)


def output_option[F: Callable[..., Any]](
    *formats: Format, columns: bool = False
) -> Callable[[F], F]:
    """Return the option `-o`, which takes these formats; the first is the default.

    Where there is JSON, a template of it may be given instead; with `columns` of objects too.
    """
    templates = "jsonpath=…, go-template=… or custom-columns=…"
    if not columns:
        templates = "jsonpath=… or go-template=…"
    return click.option(
        "-o",
        "--output",
        type=OutputType([str(chosen) for chosen in formats], columns=columns),
        default=str(formats[0]),
        show_default=True,
        help=f"Output format; also {templates}" if Format.JSON in formats else "Output format.",
    )


def shortened(text: str) -> str:
    """Return `text` on one line, each digest and pinned pull spec as the digest's first digits."""
    return _PINNED.sub(r"\1", on_one_line(text))


def on_one_line(text: str) -> str:
    """Return `text` with its lines after one another."""
    lines = (line.strip() for line in text.splitlines())
    return " / ".join(line for line in lines if line)


def write_data(data: object, output: str) -> None:
    """Write JSON data to stdout as JSON, YAML, or by a template."""
    if (template := template_of(output)) is not None:
        template.write(data)
    elif output == Format.YAML:
        import yaml  # noqa: PLC0415 - takes long to load, and most calls write none

        text = yaml.safe_dump(data, sort_keys=False, allow_unicode=True)
        if text != shown(text):  # YAML's own escapes keep what is shown otherwise
            text = yaml.safe_dump(data, sort_keys=False)
        echo(text, nl=False)
    else:
        echo(json_shown(json.dumps(data, indent=2, ensure_ascii=False)))


REPORT_VERSION = "output.upwell.dev/v1"
"""apiVersion of what is no object of the API: its fields stay while that does."""


def write_report(kind: str, data: Mapping[str, Any] | Sequence[Any], output: str) -> None:
    """Write data of a command with its apiVersion and kind; a list becomes its `items`."""
    content = data if isinstance(data, Mapping) else {"items": list(data)}
    write_data({"apiVersion": REPORT_VERSION, "kind": kind, **content}, output)


def template_of(output: str) -> "OutputTemplate | None":
    """Return the template of an output format; None for a format of its own name."""
    return output.template if isinstance(output, OutputFormat) else None


def full_name(resource: "Resource") -> str:
    """Return `kind.group/name`, as kubectl prints it."""
    kind = resource.KIND
    return full_name_of(kind.singular, kind.group, resource.name)


def full_name_of(singular: str, group: str, name: str) -> str:
    """Return `kind.group/name` of its parts."""
    return f"{singular}{f'.{group}' if group else ''}/{name}"


def format_age(since: datetime | None, now: datetime) -> str:
    """Return the age of `since`, as kubectl writes it."""
    return MISSING if since is None else human_duration(now - since)


def aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield each row as one line, with aligned columns."""
    widths = column_widths(rows)
    for row in rows:
        yield align(row, widths)


def column_widths(rows: Sequence[Sequence[str]]) -> list[int]:
    """Return the width of each column."""
    return [max(len(_flat(cell)) for cell in column) for column in zip(*rows, strict=True)]


def _flat(cell: str) -> str:
    return on_one_line(cell) if "\n" in cell else cell


def align(row: Sequence[str], widths: Sequence[int]) -> str:
    """Return one row; a cell that is too wide pushes the rest of its line."""
    return _GAP.join(
        _flat(cell).ljust(width) for cell, width in zip(row, widths, strict=True)
    ).rstrip()


def write_objects(resources: "Sequence[Resource]", output: str, *, single: bool) -> None:
    """Write objects as JSON, YAML, names or by a template; `single` writes one, not a List."""
    if output == Format.NAME:
        for resource in resources:
            echo(full_name(resource))
        return
    from upwell.api.codec import encode  # noqa: PLC0415 - loads the models

    write_documents([encode(resource) for resource in resources], output, single=single)


def write_documents(documents: Sequence[dict[str, Any]], output: str, *, single: bool) -> None:
    """Write the JSON of objects as JSON, YAML or by a template; `single` writes no List of one."""
    template = template_of(output)
    if template is not None and (columns := template.columns) is not None:
        for line in aligned([columns.titles, *map(columns.row, documents)]):
            echo(line)
        return
    if single and len(documents) == 1:
        write_data(documents[0], output)
    else:
        write_data({"apiVersion": "v1", "kind": "List", "items": documents}, output)
