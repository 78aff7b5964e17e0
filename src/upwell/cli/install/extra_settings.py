"""Settings of whoever installs, beside those that an installation makes, as one file."""

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from upwell.cli.core.errors import CommandError, Exit
from upwell.settings.errors import SettingsError
from upwell.settings.file import read_file

type Table = Mapping[str, Any]

_BARE = re.compile(r"[A-Za-z0-9_-]+")


def read_settings(path: Path) -> Table:
    """Return the settings of a file; raises CommandError, with all of its faults.

    Files that they name are those of the server's Pods, and are not looked for here.
    """
    try:
        read_file(path, files_elsewhere=True)
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except SettingsError as error:
        raise CommandError(str(error), Exit.USAGE) from error


def with_settings(text: str, extra: Table) -> str:
    """Return a configuration file with more settings.

    Raises CommandError if they set otherwise what it sets.
    """
    if not extra:
        return text
    comment = text.partition("\n")[0]
    merged = _merged(tomllib.loads(text), extra, ())
    return "\n".join([comment, *_lines(merged, ())]) + "\n"


def _merged(ours: Table, theirs: Table, path: tuple[str, ...]) -> Table:
    found = dict(ours)
    for key, value in theirs.items():
        here = (*path, key)
        if key not in found:
            found[key] = value
        elif isinstance(found[key], dict) and isinstance(value, dict):
            found[key] = _merged(found[key], value, here)
        elif found[key] != value:
            raise CommandError(
                f"{'.'.join(here)}: the installation sets it to {json.dumps(found[key])}; leave it"
                " out of the settings, or choose by an option of this command",
                Exit.USAGE,
            )
    return found


def _lines(table: Table, path: tuple[str, ...]) -> Iterator[str]:
    """Yield a table's lines: what it has itself, and then its tables, each by its whole name."""
    values = {key: one for key, one in table.items() if not _is_nested(one)}
    if path and (values or not table):
        yield ""
        yield f"[{'.'.join(map(_key, path))}]"
    for key, one in values.items():
        yield f"{_key(key)} = {_value(one)}"
    for key, one in table.items():
        if isinstance(one, dict):
            yield from _lines(one, (*path, key))
        elif _is_nested(one):
            for element in one:
                yield ""
                yield f"[[{'.'.join(map(_key, (*path, key)))}]]"
                yield from (f"{_key(name)} = {_value(value)}" for name, value in element.items())


def _is_nested(value: object) -> bool:
    """Return True for a table, and for an array of tables."""
    is_tables = isinstance(value, list) and all(isinstance(one, dict) for one in value)
    return isinstance(value, dict) or (is_tables and bool(value))


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else json.dumps(name, ensure_ascii=False)


def _value(value: object) -> str:
    """Return a value on one line; strings of JSON are those of TOML."""
    if isinstance(value, dict):
        return f"{{{', '.join(f'{_key(key)} = {_value(one)}' for key, one in value.items())}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, str | bool | int | float):
        return json.dumps(value, ensure_ascii=False)
    return str(value)  # a date or a time
