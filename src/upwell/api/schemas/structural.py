"""Structural schemas of custom resources, made from the models' OpenAPI definitions.

A schema is structural if it has a type at each place, and no references or unions
(https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions,
"Specifying a structural schema").
"""

from collections.abc import Iterable, Mapping
from typing import Any

from upwell.api.meta import Resource
from upwell.api.schemas.openapi import schemas

type Schema = dict[str, Any]

_ADDRESS = "#/definitions/"
_ANYTHING = "x-kubernetes-preserve-unknown-fields"
_INT_OR_STRING = "x-kubernetes-int-or-string"
_KEPT = (
    "description",
    "enum",
    "format",
    "maxItems",
    "maxLength",
    "maximum",
    "minItems",
    "minLength",
    "minimum",
    "pattern",
    "required",
)
"""Keywords that mean the same in a structural schema."""
_FORMATS = {"date-time", "int32", "int64"}


def structural_schemas(resources: Iterable[type[Resource]]) -> dict[type[Resource], Schema]:
    """Return the schemas of kinds' objects.

    Null is allowed wherever a field may be absent: our codec takes it for that, and manifests of
    other tools have it.
    """
    kinds = tuple(resources)
    definitions = schemas(kinds, f"{_ADDRESS}{{model}}")
    found = {}
    for kind in kinds:
        schema = _structural(definitions[kind.KIND.kind], definitions, ())
        schema["properties"]["metadata"] = {"type": "object"}
        del schema[_ANYTHING]
        found[kind] = schema
    return found


def _structural(
    schema: Mapping[str, Any], definitions: Mapping[str, Any], inside: tuple[str, ...]
) -> Schema:
    if reference := schema.get("$ref"):
        name = str(reference).removeprefix(_ADDRESS)
        held: Schema = {"type": "object", _ANYTHING: True}  # a model that holds itself has no end
        if name not in inside:
            held = _structural(definitions[name], definitions, (*inside, name))
        return held | {key: schema[key] for key in ("description",) if key in schema}
    result = {key: schema[key] for key in _KEPT if key in schema}
    if result.get("format") not in _FORMATS:
        result.pop("format", None)
    _set_limits(result, schema)
    kind = schema.get("type") or ("string" if "enum" in schema else "")
    if schema.get(_INT_OR_STRING):
        result[_INT_OR_STRING] = True
    elif kind:
        result["type"] = kind
    else:
        result[_ANYTHING] = True
    if kind == "array":
        result["items"] = _structural(schema.get("items") or {}, definitions, inside)
    elif kind == "object":
        result |= _members(schema, definitions, inside)
    return result


def _members(
    schema: Mapping[str, Any], definitions: Mapping[str, Any], inside: tuple[str, ...]
) -> Schema:
    if values := schema.get("additionalProperties"):
        return {"additionalProperties": _structural(values, definitions, inside)}
    members: Schema = {_ANYTHING: True}
    if properties := schema.get("properties"):
        required = schema.get("required", ())
        members["properties"] = {
            name: {
                **_structural(value, definitions, inside),
                **({} if name in required else {"nullable": True}),
            }
            for name, value in properties.items()
        }
    return members


def _set_limits(result: Schema, schema: Mapping[str, Any]) -> None:
    """Say exclusive limits as OpenAPI 3.0 does: JSON Schema has numbers there."""
    for limit, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        if exclusive in schema:
            result |= {limit: schema[exclusive], exclusive: True}
