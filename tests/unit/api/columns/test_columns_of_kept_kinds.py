"""Cells of kinds that are kept as they are written, whatever their fields hold."""

from datetime import UTC, datetime
from typing import Any

import pytest

from upwell.api.codec import decode
from upwell.api.kept import KEPT, Kept
from upwell.server.http.tables import table

NOW = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)
META = {"name": "web", "creationTimestamp": "2026-11-26T09:00:00Z"}
CPU = {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}
SUBJECTS = [
    {"kind": "User", "name": "ann"},
    {"kind": "User", "name": "bob"},
    {"kind": "Group", "name": "ops"},
    {"kind": "ServiceAccount", "namespace": "ci", "name": "bot"},
]


def cells(kind: str, **fields: Any) -> list[Any]:
    """Return the cells of an object, those of `-o wide` too."""
    (known,) = (one.KIND for one in KEPT if one.KIND.kind == kind)
    metadata = META | fields.pop("metadata", {})
    named = {"apiVersion": known.api_version, "kind": kind, "metadata": metadata}
    resource = decode({**named, **fields})
    (row,) = table(known, [resource], NOW)["rows"]
    found: list[Any] = row["cells"]
    return found


@pytest.mark.parametrize(
    ("kind", "fields", "shown"),
    [
        (
            "HorizontalPodAutoscaler",
            {
                "spec": {
                    "scaleTargetRef": {"kind": "Deployment", "name": "web"},
                    "minReplicas": 2,
                    "maxReplicas": 5,
                    "metrics": [
                        {"type": "Resource", "resource": CPU},
                        {"type": "Pods", "pods": {"target": {"averageValue": "1k"}}},
                        {"type": "Object", "object": {"target": {"value": 7}}},
                    ],
                }
            },
            [
                "web",
                "Deployment/web",
                "cpu: <unknown>/80%, <unknown>/1k + 1 more...",
                "2",
                "5",
                "0",
                "3h",
            ],
        ),
        (
            "HorizontalPodAutoscaler",
            {"spec": {"maxReplicas": 3, "targetCPUUtilizationPercentage": 70}},
            ["web", "/", "cpu: <unknown>/70%", "<unset>", "3", "0", "3h"],
        ),
        ("PodDisruptionBudget", {"spec": {"minAvailable": 1}}, ["web", "1", "N/A", "0", "3h"]),
        (
            "PodDisruptionBudget",
            {"spec": {"maxUnavailable": "25%"}},
            ["web", "N/A", "25%", "0", "3h"],
        ),
        ("Role", {"rules": []}, ["web", "2026-11-26T09:00:00Z"]),
        (
            "RoleBinding",
            {"roleRef": {"kind": "ClusterRole", "name": "edit"}, "subjects": SUBJECTS},
            ["web", "ClusterRole/edit", "3h", "ann, bob", "ops", "ci/bot"],
        ),
        (
            "RoleBinding",
            {"roleRef": {"name": "own", "namespace": "shop"}},
            ["web", "Role/own", "3h", "", "", ""],
        ),
        (
            "StorageClass",
            {
                "metadata": {
                    "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}
                },
                "provisioner": "kubernetes.io/no-provisioner",
                "allowVolumeExpansion": True,
            },
            [
                "web (default)",
                "kubernetes.io/no-provisioner",
                "Delete",
                "Immediate",
                "true",
                "3h",
            ],
        ),
        ("PriorityClass", {"value": 100}, ["web", "100", "false", "3h", "<none>"]),
        ("Group", {"users": ["ann", "bob"]}, ["web", "ann, bob"]),
        (
            "PersistentVolume",
            {
                "spec": {
                    "capacity": {"storage": "1Gi"},
                    "accessModes": ["ReadWriteOnce"],
                    "persistentVolumeReclaimPolicy": "Retain",
                    "claimRef": {"namespace": "shop", "name": "data"},
                }
            },
            ["web", "1Gi", "RWO", "Retain", "", "shop/data", "", "<unset>", "", "3h", "<unset>"],
        ),
    ],
)
def test_cells_are_those_of_kubernetes(kind: str, fields: dict[str, Any], shown: list[Any]) -> None:
    assert cells(kind, **fields) == shown


@pytest.mark.parametrize("value", [7, "text", [1], {"a": 1}, None], ids=str)
@pytest.mark.parametrize("kind", KEPT, ids=lambda kind: kind.KIND.kind)
def test_fields_of_any_kind_of_value_are_shown(kind: type[Kept], value: object) -> None:
    names = ("spec", "status", "roleRef", "subjects", "users", "allowedCapabilities", "value")
    inner = ("metrics", "scaleTargetRef", "capacity", "accessModes", "claimRef", "minReplicas")
    for fields in (dict.fromkeys(names, value), {"spec": dict.fromkeys(inner, value)}):
        assert cells(kind.KIND.kind, **fields)[0] == "web"
