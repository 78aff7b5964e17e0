"""Output by a template of the user's: `-o jsonpath=`, `go-template=`, `custom-columns=`."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from upwell.cli.core.errors import CommandError, Exit
from upwell.cli.core.terminal import echo, json_shown, write_text
from upwell.formats.printing.custom_columns import CustomColumns
from upwell.formats.printing.errors import PrintingError
from upwell.formats.printing.go_template import GoTemplate
from upwell.formats.printing.json_path_template import JsonPathTemplate

MAX_TEMPLATE_BYTES = 1024 * 1024
_ALIASES = {"template": "go-template", "templatefile": "go-template-file"}
_FORMS: Mapping[str, Callable[[str], Any]] = {
    "jsonpath": JsonPathTemplate.parse,
    "jsonpath-as-json": JsonPathTemplate.parse,
    "go-template": GoTemplate.parse,
    "custom-columns": CustomColumns.parse,
}
_FILES = {
    "jsonpath-file": "jsonpath",
    "go-template-file": "go-template",
    "custom-columns-file": "custom-columns",
}


@dataclass(frozen=True, slots=True)
class OutputTemplate:
    """A template as the user gave it, parsed."""

    form: str
    parsed: JsonPathTemplate | GoTemplate | CustomColumns

    @property
    def columns(self) -> CustomColumns | None:
        """The columns of `custom-columns`; None for the others."""
        return self.parsed if isinstance(self.parsed, CustomColumns) else None

    def write(self, data: object) -> None:
        """Write what the template makes of JSON data to stdout; raises CommandError."""
        try:
            if isinstance(self.parsed, CustomColumns):
                raise CommandError("custom-columns need objects, and this is none", Exit.USAGE)
            if self.form == "jsonpath-as-json" and isinstance(self.parsed, JsonPathTemplate):
                found = self.parsed.found(data)
                echo(json_shown(json.dumps(found, indent=4, ensure_ascii=False)))
                return
            write_text(self.parsed.text(data))
        except PrintingError as error:
            raise CommandError(f"-o {self.form}: {error}", Exit.FAILED) from error


def known_forms(*, columns: bool) -> Sequence[str]:
    """Return the names that may stand before `=TEMPLATE`."""
    names = [*_FORMS, *_FILES]
    return [name for name in names if columns or not name.startswith("custom-columns")]


def read_template(form: str, template: str, *, columns: bool) -> OutputTemplate | None:
    """Return the template of `FORM=TEMPLATE` or `FORM-file=PATH`; None for another format.

    Raises click.UsageError.
    """
    form = _ALIASES.get(form, form)
    if form not in known_forms(columns=columns):
        return None
    if not template:
        raise click.UsageError(f"-o {form}: the template is missing: write {form}=…")
    is_file = form in _FILES
    text = _read(form, template) if is_file else template
    if is_file and form == "custom-columns-file":
        parse: Callable[[str], Any] = CustomColumns.parse_file
    else:
        parse = _FORMS[_FILES.get(form, form)]
    try:
        return OutputTemplate(_FILES.get(form, form), parse(text))
    except PrintingError as error:
        raise click.UsageError(f"-o {form}: {error}") from error


def _read(form: str, path: str) -> str:
    try:
        with Path(path).open("rb") as file:
            content = file.read(MAX_TEMPLATE_BYTES + 1)
        if len(content) > MAX_TEMPLATE_BYTES:
            raise click.UsageError(f"-o {form}={path}: larger than {MAX_TEMPLATE_BYTES} bytes")
        return content.decode()
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "not UTF-8 text"
        raise click.UsageError(f"-o {form}={path}: {why}") from error
