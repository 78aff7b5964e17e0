"""Our kinds as Kubernetes custom resource definitions (apiextensions.k8s.io/v1)."""

from collections.abc import Iterator
from typing import Any

from upwell.api.codec import RESOURCES
from upwell.api.kept import KEPT
from upwell.api.meta import Column, Kind

_NATIVE = {"", "apps", "batch", "networking.k8s.io"}
"""Groups that every cluster has itself."""


def custom_resource_definitions() -> tuple[dict[str, Any], ...]:
    """Return a definition of each kind of ours that a cluster does not know itself.

    The schema leaves fields to our codec and validation: a cluster keeps the unknown ones as the
    store of one machine does. Views and requests have none.
    """
    return tuple(_definition(kind) for kind in _ours())


def _ours() -> Iterator[Kind]:
    for resource in RESOURCES:
        kind = resource.KIND
        if kind.group not in _NATIVE and kind.is_stored and resource not in KEPT:
            yield kind


def _definition(kind: Kind) -> dict[str, Any]:
    version: dict[str, Any] = {
        "name": kind.version,
        "served": True,
        "storage": True,
        "schema": {
            "openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
        },
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
    # Priority 1 shows with `-o wide` only.
    return {
        "name": column.title,
        "type": column.type.of_definition,
        "jsonPath": f".{column.path}",
        "priority": int(column.wide or column.notable is not None),
    }
