"""Our kinds as Kubernetes custom resource definitions (apiextensions.k8s.io/v1)."""

import copy
import functools
from collections.abc import Iterator
from typing import Any

from upwell.api.codec import RESOURCES
from upwell.api.kept import KEPT
from upwell.api.meta import Column, ColumnType, Kind, Resource
from upwell.api.schemas.native import NATIVE_GROUPS
from upwell.api.schemas.structural import structural_schemas


def custom_resource_definitions() -> tuple[dict[str, Any], ...]:
    """Return a definition of each kind of ours that a cluster does not know itself.

    Its schema has the types of all fields; a cluster keeps unknown ones as the store of one machine
    does, and leaves rules to our validation. Views and requests have none.
    """
    return copy.deepcopy(_definitions())


@functools.cache
def _definitions() -> tuple[dict[str, Any], ...]:
    made = structural_schemas(custom_kinds())
    return tuple(_definition(resource.KIND, schema) for resource, schema in made.items())


def custom_kinds() -> Iterator[type[Resource]]:
    """Yield the kinds of ours that a cluster keeps as custom resources."""
    for resource in RESOURCES:
        kind = resource.KIND
        if kind.group not in NATIVE_GROUPS and kind.is_stored and resource not in KEPT:
            yield resource


def _definition(kind: Kind, schema: dict[str, Any]) -> dict[str, Any]:
    version: dict[str, Any] = {
        "name": kind.version,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": schema},
        "additionalPrinterColumns": [
            _printer_column(column)
            for column in kind.printed_columns
            if column.path != "metadata.name"  # a cluster shows it itself
        ],
    }
    if kind.has_status:
        version["subresources"] = {"status": {}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": kind.resource},
        "spec": {
            "group": kind.group,
            "scope": kind.scope.value,
            "names": {
                "kind": kind.kind,
                "listKind": kind.list_kind,
                "plural": kind.plural,
                "singular": kind.singular,
                "shortNames": list(kind.short_names),
            },
            "versions": [version],
        },
    }


def _printer_column(column: Column) -> dict[str, Any]:
    # Priority 1 shows with `-o wide` only. A definition subtracts no times: of a span, it has the
    # end, as the time since then.
    is_span = column.type is ColumnType.SPAN
    # Of the items at a path, a definition shows the first alone; of a list of texts, all.
    path = (column.until if is_span else column.path).removesuffix("[*]")
    return {
        "name": "COMPLETED" if is_span else column.title,
        "type": column.type.of_definition,
        "jsonPath": f".{path}",
        "priority": int(column.wide or column.notable is not None),
    }
