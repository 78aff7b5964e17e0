"""Types of a Compose file's values, by the Compose Specification's own JSON Schema.

Compose validates by the same one. Of JSON Schema 2020-12, the keywords that it uses are known,
but for uniqueItems: Compose drops what is there twice.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from upwell.formats.compose.document import Document, Path
from upwell.formats.compose.keys import not_allowed

type Schema = Mapping[str, Any]
type ShapeFault = tuple[Path, str]

_NAMES = {
    "string": "a string",
    "integer": "an integer",
    "number": "a number",
    "boolean": "a boolean",
    "array": "a list",
    "object": "a mapping",
}
"""Types of JSON Schema, in Compose's words; null is never named."""
_TYPES: tuple[tuple[type, str], ...] = (
    (type(None), "null"),
    (bool, "boolean"),  # which is an int too
    (int, "integer"),
    (float, "number"),
    (str, "string"),
    (list, "array"),
    (object, "object"),
)
_WORDS = {"true": True, "false": False}
_MOST_FAULTS = 100


def check_shape(document: Document) -> None:
    """Note the values that have no type of theirs, where nothing was found at fault yet."""
    found = list(document.faulty)
    for number, (path, why) in enumerate(_Checker(document).faults((), document.root, _root())):
        if number == _MOST_FAULTS:
            return
        if not any(path[: len(one)] == one or one[: len(path)] == path for one in found):
            document.fault(path, why)


@cache
def _root() -> Schema:
    text = files("upwell.formats.compose").joinpath("compose-spec.json").read_text("utf-8")
    schema: Schema = json.loads(text)
    return schema


class _Checker:
    """Compares values with schemas; as deep as the file, whose size and depth are bounded."""

    def __init__(self, document: Document) -> None:
        self._interpolated = document.interpolated

    def faults(self, path: Path, value: Any, schema: Schema) -> Iterator[ShapeFault]:
        """Yield what is wrong with a value."""
        schema = _resolved(schema)
        for branch in schema.get("allOf", ()):
            yield from self.faults(path, value, branch)
        if choices := [_resolved(one) for one in schema.get("oneOf", ())]:
            yield from self._chosen(path, value, choices)
        if (types := _types(schema)) and not self._is_one_of(path, value, types):
            yield path, f"must be {_said(types)}"
        elif isinstance(value, Mapping):
            yield from self._of_mapping(path, value, schema)
        elif isinstance(value, list):
            yield from self._of_list(path, value, schema)
        else:
            yield from self._of_scalar(path, value, schema)

    def _chosen(self, path: Path, value: Any, choices: Sequence[Schema]) -> Iterator[ShapeFault]:
        """Yield what is wrong by the choice that a value of this type has."""
        fitting = [one for one in choices if self._is_one_of(path, value, _types(one))]
        if not fitting:
            types = dict.fromkeys(name for one in choices for name in _types(one))
            yield path, f"must be {_said([*types])}"
            return
        found = [[*self.faults(path, value, one)] for one in fitting]
        if all(found):
            yield from min(found, key=len)

    def _is_one_of(self, path: Path, value: Any, types: Sequence[str]) -> bool:
        """Return True if a value has one of these types; a variable's text may stand for any."""
        if not types or _type(value) in types or (_type(value) == "integer" and "number" in types):
            return True
        return path in self._interpolated and _type(_read(value)) in types

    def _of_mapping(
        self, path: Path, value: Mapping[str, Any], schema: Schema
    ) -> Iterator[ShapeFault]:
        known = _properties(schema)
        patterns = {**schema.get("patternProperties", {})}
        for part in schema.get("allOf", ()):
            patterns |= _resolved(part).get("patternProperties", {})
        others = schema.get("additionalProperties", schema.get("unevaluatedProperties", True))
        for key, inner in value.items():
            place = (*path, key)
            if key in schema.get("properties", {}):
                yield from self.faults(place, inner, schema["properties"][key])
            elif matching := [one for pattern, one in patterns.items() if re.search(pattern, key)]:
                for one in matching:
                    yield from self.faults(place, inner, one)
            elif others is False and key not in known:
                yield place, not_allowed(key, known)
            elif isinstance(others, Mapping):
                yield from self.faults(place, inner, others)
        for key in schema.get("required", ()):
            if key not in value:
                yield path, f"{key} is required"

    def _of_list(self, path: Path, value: list[Any], schema: Schema) -> Iterator[ShapeFault]:
        for at, inner in enumerate(value):
            yield from self.faults((*path, at), inner, schema.get("items", {}))

    def _of_scalar(self, path: Path, value: Any, schema: Schema) -> Iterator[ShapeFault]:
        if "enum" in schema and value not in schema["enum"]:
            yield path, f"must be one of {', '.join(map(str, schema['enum']))}"
        if isinstance(value, str):
            if "pattern" in schema and not re.search(schema["pattern"], value):
                yield path, f"{value!r} has not the form {schema['pattern']}"
        elif _type(value) in {"integer", "number"}:
            if "minimum" in schema and value < schema["minimum"]:
                yield path, f"must be {schema['minimum']} or more"
            if "maximum" in schema and value > schema["maximum"]:
                yield path, f"must be {schema['maximum']} or less"


def _resolved(schema: Schema) -> Schema:
    while "$ref" in schema:
        schema = _root()["$defs"][schema["$ref"].removeprefix("#/$defs/")]
    return schema


def _properties(schema: Schema) -> set[str]:
    """Return the names of what a mapping may have, those of its parts included."""
    parts = (_properties(_resolved(one)) for one in schema.get("allOf", ()))
    return set(schema.get("properties", {})).union(*parts)


def _types(schema: Schema) -> list[str]:
    given = schema.get("type", [])
    return [given] if isinstance(given, str) else given


def _type(value: Any) -> str:
    """Return the type of JSON Schema; an instance of the first class that fits."""
    if isinstance(value, float) and value.is_integer():
        return "integer"
    return next(name for kind, name in _TYPES if isinstance(value, kind))


def _read(value: Any) -> Any:
    """Return the number or the boolean that the text of a variable stands for, if it does."""
    if not isinstance(value, str):
        return value
    for kind in (int, float):
        try:
            return kind(value)
        except ValueError:
            continue
    return _WORDS.get(value.lower(), value)


def _said(types: Sequence[str]) -> str:
    return " or ".join(_NAMES[one] for one in types if one != "null")
