"""The Compose Specification's schema: the checker knows every keyword that it uses."""

import json
from collections.abc import Iterator
from importlib.resources import files
from typing import Any

KNOWN = {
    *("type", "enum", "pattern", "minimum", "maximum", "required", "items", "properties"),
    *("patternProperties", "additionalProperties", "unevaluatedProperties"),
    *("allOf", "oneOf", "$ref", "$defs", "$comment"),
    "uniqueItems",  # left out: Compose drops what is there twice
}


def keywords(schema: Any) -> Iterator[str]:
    if not isinstance(schema, dict):
        return
    yield from schema
    for name in ("properties", "patternProperties", "$defs"):
        for one in schema.get(name, {}).values():
            yield from keywords(one)
    for name in ("allOf", "oneOf"):
        for one in schema.get(name, ()):
            yield from keywords(one)
    for name in ("items", "additionalProperties", "unevaluatedProperties"):
        yield from keywords(schema.get(name))


def test_a_newer_schema_has_no_keyword_that_is_passed_over() -> None:
    text = files("upwell.formats.compose").joinpath("compose-spec.json").read_text("utf-8")
    assert set(keywords(json.loads(text))) <= KNOWN
