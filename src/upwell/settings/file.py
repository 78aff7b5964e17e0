"""Reader of the configuration file, TOML, which tells all faults of a file at once."""

import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from upwell.settings.base import SettingsTable
from upwell.settings.errors import SettingsError
from upwell.settings.tables import FileSettings
from upwell.settings.values import FILES_ELSEWHERE, AllowedValues, KeyType

MAX_FILE_BYTES = 1024 * 1024

_MAX_FAULTS = 20
"""Faults that are named one by one; whoever has more of them gave the wrong file."""
_MAX_SHOWN = 60
"""Characters of a wrong value in an error."""


_BARE_KEY = re.compile(rf"[A-Za-z0-9_-]{{1,{_MAX_SHOWN}}}")


def read_file(path: Path, *, files_elsewhere: bool = False) -> FileSettings:
    """Read the configuration file; docs/configuration.md has its keys. Raises SettingsError.

    Files that it names have to be there, unless they are elsewhere: where the server will run.
    """
    document = _document(path)
    context = FILES_ELSEWHERE if files_elsewhere else None
    try:
        return FileSettings.model_validate(document, by_alias=True, by_name=False, context=context)
    except ValidationError as error:
        found = error.errors()
        faults = [_fault(details) for details in found[:_MAX_FAULTS]]
        more = len(found) - len(faults)
        raise SettingsError(*faults, source=str(path), more=more) from error


def _document(path: Path) -> Mapping[str, Any]:
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise SettingsError(error.strerror or str(error), source=str(path)) from error
    if len(raw) > MAX_FILE_BYTES:
        raise SettingsError(f"larger than {MAX_FILE_BYTES} bytes", source=str(path))
    try:
        return tomllib.loads(raw.decode())
    except ValueError as error:  # of TOML, of UTF-8, or of an integer with thousands of digits
        raise SettingsError(f"not TOML: {error}", source=str(path)) from error
    except RecursionError as error:
        raise SettingsError("not TOML: nested too deeply", source=str(path)) from error


def _type_at(location: Sequence[int | str]) -> KeyType:
    found = KeyType(FileSettings, AllowedValues(""))
    for part in location:
        if isinstance(part, int):
            found = KeyType.of(get_args(found.kind)[0])
        elif get_origin(found.kind) is dict:
            found = KeyType.of(get_args(found.kind)[1])
        else:
            found = found.kind.key_types()[part]
    return found


def _fault(details: ErrorDetails) -> str:
    location = details["loc"]
    return f"{_path(location)}: {_reason(details, location)}"


def _path(location: Sequence[int | str]) -> str:
    texts = [f"[{part}]" if isinstance(part, int) else f".{_key(part)}" for part in location]
    return "".join(texts).removeprefix(".")


def _key(name: str) -> str:
    """Return a key as the file has to write it (TOML, "Keys"), cut where it is too long."""
    return name if _BARE_KEY.fullmatch(name) else _shown(name)


def _reason(details: ErrorDetails, location: Sequence[int | str]) -> str:
    if details["type"] == "extra_forbidden":
        return _unknown(str(location[-1]), [*_type_at(location[:-1]).kind.key_types()])
    kind, allowed = _type_at(location)
    if details["type"] == "missing":
        return f"missing, expected {allowed.words}"
    if (
        details["type"] == "value_error"
        and isinstance(kind, type)
        and issubclass(kind, SettingsTable)
    ):
        return str(details["ctx"]["error"])
    if details["type"] == "value_error" and allowed.explained:
        return str(details["ctx"]["error"])
    return f"expected {allowed.words}, not {_shown(details['input'])}"


def _unknown(key: str, known: Sequence[str]) -> str:
    near = get_close_matches(key[:_MAX_SHOWN], known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(sorted(known))}"
    return f"unknown key; {hint}"


def _shown(value: object) -> str:
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}…"
