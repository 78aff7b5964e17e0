"""Output of results: JSON, YAML, names or a table with ages."""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

import click
import yaml

from upwell.api.codec import encode
from upwell.api.meta import Column, Resource

MISSING = "-"
_STEP = re.compile(r"(?P<name>[^\[\]]+)(?:\[(?P<at>\*|\d{1,6})\])?")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)")
_PINNED = re.compile(r"(?:[^\s@=(]+@)?sha256:([0-9a-f]{12})[0-9a-f]{52}")
_GAP = "   "


class Format(StrEnum):
    """Output formats of `-o`."""

    TABLE = "table"
    WIDE = "wide"
    NAME = "name"
    JSON = "json"
    YAML = "yaml"


def output_option[F: Callable[..., Any]](*formats: Format) -> Callable[[F], F]:
    """Return the option `-o`, which takes these formats; the first is the default."""
    return click.option(
        "-o",
        "--output",
        type=click.Choice([str(chosen) for chosen in formats]),
        default=str(formats[0]),
        show_default=True,
        help="Output format.",
    )


def shortened(text: str) -> str:
    """Return `text` on one line, each digest and pinned pull spec as the digest's first digits."""
    lines = (line.strip() for line in text.splitlines())
    return _PINNED.sub(r"\1", " / ".join(line for line in lines if line))


def write_data(data: object, output: str) -> None:
    """Write JSON data to stdout as JSON or YAML."""
    if output == Format.YAML:
        click.echo(yaml.safe_dump(data, sort_keys=False, allow_unicode=True), nl=False)
    else:
        click.echo(json.dumps(data, indent=2, ensure_ascii=False))


def full_name(resource: Resource) -> str:
    """Return `kind.group/name`, as kubectl prints it."""
    kind = resource.KIND
    return f"{kind.singular}{f'.{kind.group}' if kind.group else ''}/{resource.name}"


def format_age(since: datetime | None, now: datetime) -> str:
    """Return the age of `since` in its one or two largest units."""
    if since is None:
        return MISSING
    return format_duration(now - since)


def format_duration(duration: timedelta) -> str:
    """Return `45s`, `3m20s`, `5h10m`, `3d4h` or `40d`."""
    seconds = max(int(duration.total_seconds()), 0)
    for unit, size, smaller, smaller_size, limit in (
        ("d", 86_400, "h", 3_600, 10),
        ("h", 3_600, "m", 60, 24),
        ("m", 60, "s", 1, 60),
    ):
        if seconds >= size:
            whole, rest = divmod(seconds, size)
            part = rest // smaller_size
            return f"{whole}{unit}{part}{smaller}" if part and whole < limit else f"{whole}{unit}"
    return f"{seconds}s"


def values_at(document: object, path: str) -> list[Any]:
    """Return the values at a path such as `spec.containers[*].image`; none when it ends early.

    `[0]` stands for the first of a list.
    """
    found = [document]
    for match in _STEP.finditer(path):
        name = match["name"].strip(".")
        for step in name.split("."):
            found = [item[step] for item in found if isinstance(item, Mapping) and step in item]
        if (at := match["at"]) is not None:
            part = slice(None) if at == "*" else slice(int(at), int(at) + 1)
            found = [item for items in found if isinstance(items, list) for item in items[part]]
    return [value for value in found if value not in (None, "")]


@dataclass(frozen=True, slots=True)
class TableStyle:
    """Choice of the columns of a table of objects."""

    wide: bool = False
    namespaces: bool = False
    """A column with the namespace."""
    kinds: bool = False
    """Names with their kind, for tables of several kinds."""


class Table:
    """Objects of one kind as lines of text."""

    def __init__(self, columns: Sequence[Column], style: TableStyle) -> None:
        self._style = style
        self._columns = [column for column in columns if style.wide or not column.wide]

    def header(self) -> tuple[str, ...]:
        """Return the titles."""
        titles = ("NAME", *(column.title for column in self._columns), "AGE")
        return ("NAMESPACE", *titles) if self._style.namespaces else titles

    def row(self, resource: Resource, now: datetime) -> tuple[str, ...]:
        """Return the texts of one object."""
        document = resource.model_dump(mode="json", by_alias=True)
        name = full_name(resource) if self._style.kinds else resource.name
        cells = (
            name,
            *(
                column.text(document)
                if column.text
                else _cell(values_at(document, column.path), now)
                for column in self._columns
            ),
            format_age(resource.metadata.creation_timestamp, now),
        )
        return (resource.namespace, *cells) if self._style.namespaces else cells


def _cell(values: list[Any], now: datetime) -> str:
    texts = [
        _span(datetime.fromisoformat(value), now)
        if isinstance(value, str) and _TIME.fullmatch(value)
        else str(value)
        for value in values
    ]
    return ",".join(texts) or MISSING


def _span(time: datetime, now: datetime) -> str:
    return f"in {format_duration(time - now)}" if time > now else format_age(time, now)


def aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield the rows as lines with aligned columns."""
    widths = column_widths(rows)
    for row in rows:
        yield align(row, widths)


def column_widths(rows: Sequence[Sequence[str]]) -> list[int]:
    """Return the width of each column."""
    return [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]


def align(row: Sequence[str], widths: Sequence[int]) -> str:
    """Return one row; a cell that is too wide pushes the rest of its line."""
    return _GAP.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def write_objects(resources: Sequence[Resource], output: str, *, single: bool) -> None:
    """Write objects as JSON, YAML or names; `single` writes one object, not a List."""
    if output == Format.NAME:
        for resource in resources:
            click.echo(full_name(resource))
        return
    documents = [encode(resource) for resource in resources]
    if single and len(documents) == 1:
        write_data(documents[0], output)
    else:
        write_data({"apiVersion": "v1", "kind": "List", "items": documents}, output)
