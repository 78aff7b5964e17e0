"""HorizontalPodAutoscalers are judged as Kubernetes judges them, and kept."""

from typing import Any

import pytest
from tests.support.mutations.admission import refusal

TARGET = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
CPU = {
    "type": "Resource",
    "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}},
}

HITS = {"name": "hits", "selector": {"matchLabels": {"app": "web"}}}
BETA_OBJECT = {"target": TARGET, "metricName": "hits", "targetValue": 5}


def metric(kind: str, value: object) -> dict[str, object]:
    """Return what measures by a source of the kind."""
    return {"metrics": [{"type": kind, kind.lower(): value}]}


def autoscaler(version: str = "v2", **changes: object) -> dict[str, Any]:
    """Return an autoscaler whose spec has these fields; None takes one out."""
    spec: dict[str, object] = {
        "scaleTargetRef": TARGET,
        "minReplicas": 1,
        "maxReplicas": 3,
        **changes,
    }
    return {
        "apiVersion": f"autoscaling/{version}",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "web"},
        "spec": {name: value for name, value in spec.items() if value is not None},
    }


@pytest.mark.parametrize(
    "document",
    [
        autoscaler(),
        autoscaler(minReplicas=None),
        autoscaler("v1", targetCPUUtilizationPercentage=80),
        autoscaler(metrics=[CPU]),
        autoscaler(
            "v2beta1",
            metrics=[{"type": "Resource", "resource": {"name": "cpu", "targetAverageValue": 1}}],
        ),
        autoscaler("v2beta1", **metric("Object", BETA_OBJECT)),
        autoscaler(
            "v2",
            **metric("Pods", {"metric": HITS, "target": {"type": "Value", "averageValue": "10"}}),
        ),
        autoscaler(
            "v2", **metric("External", {"metric": HITS, "target": {"type": "Value", "value": "5"}})
        ),
        autoscaler(
            behavior={
                "scaleDown": {
                    "stabilizationWindowSeconds": 0,
                    "policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}],
                }
            }
        ),
    ],
)
def test_a_valid_one_is_kept(document: dict[str, Any]) -> None:
    assert refusal(document) is None


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"maxReplicas": None}, "spec.maxReplicas: Required"),
        ({"maxReplicas": "three"}, "spec.maxReplicas: expected an integer"),
        ({"maxReplicas": -1}, "spec.maxReplicas: Invalid"),
        ({"minReplicas": 0}, "spec.minReplicas: Invalid"),
        ({"minReplicas": 4}, "spec.maxReplicas: Invalid value: 3"),
        ({"scaleTargetRef": None}, "spec.scaleTargetRef: Required"),
        ({"scaleTargetRef": {**TARGET, "kind": ""}}, "spec.scaleTargetRef.kind: Required"),
        ({"targetCPUUtilizationPercentage": 0}, "spec.targetCPUUtilizationPercentage: Invalid"),
        ({"metrics": [{"resource": {}}]}, "spec.metrics[0].type: Required"),
        ({"metrics": [{"type": "Memory"}]}, "spec.metrics[0].type: Unsupported"),
        ({"metrics": [{"type": "Pods"}]}, "spec.metrics[0].pods: Required"),
        ({"metrics": [{**CPU, "pods": {}}]}, "spec.metrics[0].pods: Forbidden"),
        (metric("Resource", {"name": "cpu"}), "resource.target: Required"),
        (
            metric("Resource", {"name": "cpu", "target": {"type": "Utilization"}}),
            "resource.target.averageUtilization: Required",
        ),
        (
            metric("Pods", {"metric": HITS, "target": {"type": "Value", "averageValue": "0"}}),
            'pods.target.averageValue: Invalid value: "0": must be positive',
        ),
        (
            metric("Pods", {"metric": {"name": "a/b"}, "target": {"type": "Value"}}),
            "pods.metric.name: Invalid",
        ),
        (
            metric("External", {"metric": HITS, "target": {"type": "Value", "value": "much"}}),
            "external.target.value: Invalid",
        ),
        (metric("Object", {"metric": HITS}), "object.describedObject: Required"),
        ({"behavior": {"scaleUp": {"policies": []}}}, "scaleUp.policies: Required"),
        ({"behavior": {"scaleUp": {"selectPolicy": "max"}}}, "scaleUp.selectPolicy: Unsupported"),
    ],
)
def test_a_fault_has_its_path(changes: dict[str, object], path: str) -> None:
    assert path in str(refusal(autoscaler(**changes)))  # type: ignore[arg-type]


def test_what_was_kept_with_a_fault_can_be_labelled() -> None:
    old = autoscaler(minReplicas=0)
    new = {**old, "metadata": {"name": "web", "labels": {"a": "b"}}}

    assert refusal(new, old) is None
