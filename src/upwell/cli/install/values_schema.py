"""Schema of the Helm chart's values, by which Helm refuses what the chart cannot mean.

Draft 7, which every Helm 3 and 4 reads (https://helm.sh/docs/topics/charts/#schema-files). Patterns
are what both ECMA 262 and Go's `regexp` understand: no look-ahead.
"""

from collections.abc import Mapping
from typing import Any

from upwell.cli.install.installation import Feature

_HOST = r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:[0-9]{1,5})?"
_PATH = r"(/[a-z0-9]+([._-]+[a-z0-9]+)*)*"
_NAMESPACE = r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"
_IMAGE = r"^[A-Za-z0-9][A-Za-z0-9._:/@-]*$"
_TABLES_FIRST = r"^([ \t\r\n]|#[^\n]*\n)*(\[|#[^\n]*$|$)"
"""A key before the first table would be one of the table that the chart writes before it."""
_TABLES_OF_THE_CHART = (
    r"(^|\n)[ \t]*\[[ \t]*"
    r"(kubernetes([ \t]*\.[ \t]*builds)?|embedded-registry|external-registry)[ \t]*\]"
)


def values_schema() -> dict[str, Any]:
    """Return the JSON schema of `values.yaml`."""
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Values of the Upwell chart",
        **_object(
            {
                "global": {"type": "object"},  # Helm gives it to a chart that is part of another
                "image": {"type": "string", "pattern": _IMAGE},
                "replicas": {"type": "integer", "minimum": 1},
                "namespaces": {
                    "type": "array",
                    "uniqueItems": True,
                    "items": {"type": "string", "pattern": _NAMESPACE},
                },
                "features": _object({one.value: {"type": "boolean"} for one in sorted(Feature)}),
                "registryAddress": {"type": "string", "pattern": f"^({_HOST})?$"},
                "externalRegistry": {"type": "string", "pattern": f"^({_HOST}{_PATH})?$"},
                "settings": {
                    "type": "string",
                    "allOf": [
                        {"title": "begins with a table", "pattern": _TABLES_FIRST},
                        {
                            "title": "has no table that the chart writes",
                            "not": {"pattern": _TABLES_OF_THE_CHART},
                        },
                    ],
                },
                "data": {
                    "type": "object",
                    "properties": {"name": {"const": "data"}},
                    "required": ["name"],
                },
            }
        ),
        # Images of builds lie in one registry.
        "if": {
            "required": ["externalRegistry"],
            "properties": {"externalRegistry": {"minLength": 1}},
        },
        "then": {"properties": {"registryAddress": {"const": ""}}},
    }


def _object(properties: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema of an object that may have these properties, and no others."""
    return {"type": "object", "additionalProperties": False, "properties": dict(properties)}
