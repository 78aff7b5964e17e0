"""Updates: what they may not change, and faults that were stored before there was a rule."""

import copy
from typing import Any

import pytest
from tests.support.mutations.admission import refusal
from tests.support.mutations.valid_objects import valid_objects


def changed(document: dict[str, Any], path: str, value: object) -> dict[str, Any]:
    """Return the document with another value at a path of names and places."""
    copied = copy.deepcopy(document)
    parent: Any = copied
    *steps, last = [int(step) if step.isdigit() else step for step in path.split("/")]
    for step in steps:
        parent = parent[step]
    if value is None:
        del parent[last]
    else:
        parent[last] = value
    return copied


def first(kind: str) -> dict[str, Any]:
    return valid_objects(kind)[0]


CONTAINER = "spec/template/spec/containers/0"
OTHER_LABELS = {"app": "web", "tier": "front"}


@pytest.mark.parametrize(
    ("kind", "path", "value", "field"),
    [
        ("Deployment", "spec/selector/matchLabels", OTHER_LABELS, "spec.selector"),
        ("DaemonSet", "spec/selector/matchLabels", OTHER_LABELS, "spec.selector"),
        ("StatefulSet", "spec/serviceName", "other", "spec.serviceName"),
        ("StatefulSet", "spec/podManagementPolicy", "OrderedReady", "spec.podManagementPolicy"),
        ("StatefulSet", "spec/selector/matchLabels", OTHER_LABELS, "spec.selector"),
        ("Job", f"{CONTAINER}/image", "registry.example/other:1", "spec.template"),
        ("Job", "spec/completions", 7, "spec.completions"),
        ("Secret", "type", "example.com/other", "type"),
        ("ConfigMap", "data/x", "other", "data"),
        ("ConfigMap", "immutable", None, "immutable"),
    ],
)
def test_some_fields_stay_as_they_are(kind: str, path: str, value: object, field: str) -> None:
    old = first(kind)
    if value is OTHER_LABELS:
        old = changed(old, "spec/template/metadata/labels", OTHER_LABELS)

    why = refusal(changed(old, path, value), old)

    assert why is not None
    assert f"{field}: " in why
    assert "immutable" in why or "forbidden" in why


@pytest.mark.parametrize(
    ("kind", "path", "value"),
    [
        ("Deployment", f"{CONTAINER}/image", "registry.example/other:1"),
        ("Deployment", "spec/replicas", 5),
        ("StatefulSet", f"{CONTAINER}/image", "registry.example/other:1"),
        ("StatefulSet", "spec/replicas", 5),
        ("StatefulSet", "spec/updateStrategy", {"type": "OnDelete"}),
        ("Job", "spec/parallelism", 5),
        ("Job", "spec/backoffLimit", 1),
        ("CronJob", "spec/schedule", "@daily"),
        ("Secret", "data/a", "Yg=="),
        ("ConfigMap", "metadata/labels", {"a": "b"}),
        ("Service", "spec/selector", {"app": "other"}),
    ],
)
def test_the_rest_may_change(kind: str, path: str, value: object) -> None:
    assert refusal(changed(first(kind), path, value), first(kind)) is None


STORED_BEFORE = [
    ("Deployment", f"{CONTAINER}/imagePullPolicy", "Bogus"),
    ("Deployment", "spec/selector", None),
    ("Deployment", f"{CONTAINER}/resources", {"limits": {"memory": "lots"}}),
    ("Deployment", "metadata/labels", {"app": "not a label"}),
    ("Job", "spec/template/spec/restartPolicy", None),
    ("CronJob", "spec/schedule", "now and then"),
    ("Service", "spec/ports", []),
    ("Secret", "type", "kubernetes.io/tls"),
    ("ConfigMap", "metadata/finalizers", ["mine"]),
]


@pytest.mark.parametrize(("kind", "path", "value"), STORED_BEFORE)
def test_what_was_stored_with_a_fault_may_be_updated_elsewhere(
    kind: str, path: str, value: object
) -> None:
    faulty = changed(first(kind), path, value)
    assert refusal(faulty) is not None

    assert refusal(changed(faulty, "metadata/annotations", {"a/b": "c"}), faulty) is None
    assert refusal(first(kind), changed(faulty, "metadata/annotations", {})) is None or kind in {
        "Secret",
        "Job",
    }


@pytest.mark.parametrize(("kind", "path", "value"), STORED_BEFORE)
def test_a_fault_beside_an_old_one_is_refused(kind: str, path: str, value: object) -> None:
    faulty = changed(first(kind), path, value)

    why = refusal(changed(faulty, "metadata/annotations", {"!!": "c"}), faulty)

    assert why is not None
    assert why.count(": Invalid value") == 1
    assert "metadata.annotations" in why


def test_an_old_fault_may_move_in_its_list_but_not_multiply() -> None:
    faulty = changed(first("Deployment"), f"{CONTAINER}/imagePullPolicy", "Bogus")
    containers = faulty["spec"]["template"]["spec"]["containers"]
    other = {"name": "other", "image": "other:1"}

    moved = changed(faulty, "spec/template/spec/containers", [other, *containers])
    doubled = changed(
        faulty, "spec/template/spec/containers", [{**containers[0], "name": "x"}, *containers]
    )

    assert refusal(moved, faulty) is None
    assert refusal(doubled, faulty) is not None


def test_every_fault_of_an_object_is_told_at_once_with_its_path() -> None:
    faulty = first("Deployment")
    for path, value in (
        (f"{CONTAINER}/imagePullPolicy", "Bogus"),
        (f"{CONTAINER}/name", ""),
        ("spec/selector", None),
        ("spec/progressDeadlineSeconds", 1),
        ("spec/template/spec/restartPolicy", "Never"),
    ):
        faulty = changed(faulty, path, value)

    why = refusal(faulty) or ""

    container = "spec.template.spec.containers[0]"
    assert f'{container}.imagePullPolicy: Unsupported value: "Bogus"' in why
    assert f"{container}.name: Required value" in why
    assert "spec.selector: Required value" in why
    assert "spec.progressDeadlineSeconds: Invalid value: 1" in why
    assert 'spec.template.spec.restartPolicy: Unsupported value: "Never"' in why
