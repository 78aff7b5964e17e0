"""Objects of which each field is set, to what its schema allows and no person would write."""

from typing import Any

from upwell.api.schemas.crds import custom_resource_definitions

_NOT_OURS = {"apiVersion", "kind", "metadata"}
_SCALARS = {"string": "a", "boolean": True, "number": 1.5}


def schema_samples(name: str, namespace: str) -> list[dict[str, Any]]:
    """Return an object of each kind that a cluster keeps as a custom resource."""
    return [_object(one["spec"], name, namespace) for one in custom_resource_definitions()]


def _object(definition: dict[str, Any], name: str, namespace: str) -> dict[str, Any]:
    [version] = definition["versions"]
    fields = version["schema"]["openAPIV3Schema"]["properties"]
    is_namespaced = definition["scope"] == "Namespaced"
    return {
        "apiVersion": f"{definition['group']}/{version['name']}",
        "kind": definition["names"]["kind"],
        "metadata": {"name": name, **({"namespace": namespace} if is_namespaced else {})},
        **{field: _value(schema) for field, schema in fields.items() if field not in _NOT_OURS},
    }


def _value(schema: dict[str, Any]) -> Any:
    if "enum" in schema:
        return schema["enum"][0]
    if schema.get("format") == "date-time":
        return "2026-05-01T00:00:00Z"
    kind = str(schema.get("type"))
    if kind == "object":
        return _fields(schema)
    return [_value(schema["items"])] if kind == "array" else _SCALARS.get(kind, 1)


def _fields(schema: dict[str, Any]) -> dict[str, Any]:
    found = {name: _value(inner) for name, inner in schema.get("properties", {}).items()}
    more = schema.get("additionalProperties")
    return {**found, "k": _value(more)} if isinstance(more, dict) else found
