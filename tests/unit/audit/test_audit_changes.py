"""Differences of objects, as the audit log tells them."""

import pytest

from upwell.audit.changes import changed_fields
from upwell.audit.events import FieldChange

DEPLOYMENT = {
    "kind": "Deployment",
    "metadata": {"name": "web", "resourceVersion": "4", "labels": {"app": "web"}},
    "spec": {"replicas": 1, "containers": [{"name": "web", "image": "a"}]},
}


def test_a_changed_field_is_told_with_both_values() -> None:
    new = DEPLOYMENT | {
        "metadata": {"name": "web", "resourceVersion": "5", "labels": {"app": "web"}},
        "spec": {"replicas": 3, "containers": [{"name": "web", "image": "b"}]},
    }
    assert changed_fields(DEPLOYMENT, new) == [
        FieldChange("spec.containers[web].image", '"a"', '"b"'),
        FieldChange("spec.replicas", "1", "3"),
    ]


def test_a_new_object_is_told_as_what_it_brings() -> None:
    found = {change.path: change for change in changed_fields(None, DEPLOYMENT)}
    assert found["spec.replicas"] == FieldChange("spec.replicas", None, "1")
    assert "metadata.resourceVersion" not in found


@pytest.mark.parametrize(
    ("old", "new"), [("x" * 400 + "a", "x" * 400 + "b"), (1, True), ("1", 1), (None, "")]
)
def test_a_value_that_differs_late_or_by_its_type_alone_is_told(old: object, new: object) -> None:
    change = changed_fields({"kind": "A", "spec": {"f": old}}, {"kind": "A", "spec": {"f": new}})
    assert [one.path for one in change] == ["spec.f"]


def test_values_of_secrets_are_not_told() -> None:
    old = {"kind": "Secret", "data": {"password": "b2xk"}, "metadata": {"labels": {"a": "1"}}}
    new = {"kind": "Secret", "data": {"password": "bmV3"}, "metadata": {"labels": {"a": "2"}}}
    assert changed_fields(old, new) == [
        FieldChange("data.password"),
        FieldChange("metadata.labels.a", '"1"', '"2"'),
    ]


def test_secrets_in_other_objects_are_not_told() -> None:
    config = {"kind": "BuildConfig", "spec": {"triggers": [{"generic": {"secret": "s3cr3t"}}]}}
    route = {"kind": "Route", "spec": {"tls": {"key": "s3cr3t", "termination": "edge"}}}
    applied = {
        "metadata": {
            "annotations": {
                "kubectl.kubernetes.io/last-applied-configuration": "s3cr3t",
                "note": "x",
            }
        }
    }
    settings = {"kind": "ConfigMap", "data": {"password": "s3cr3t"}}
    variable = {
        "spec": {"containers": [{"name": "web", "env": [{"name": "A", "value": "s3cr3t"}]}]}
    }
    for document in (config, route, applied, settings, variable):
        assert "s3cr3t" not in repr(changed_fields(None, document))
    assert FieldChange("spec.tls.termination", None, '"edge"') in changed_fields(None, route)


def test_work_is_bounded() -> None:
    huge = {"kind": "ConfigMap", "data": {str(number): "x" * 1000 for number in range(50_000)}}
    found = changed_fields(None, huge)
    assert len(found) <= 2000
    assert all(len(change.new or "") <= 300 for change in found)


@pytest.mark.parametrize("place", ["env", "buildArgs", "parameters", "httpHeaders"])
@pytest.mark.parametrize("name", ["TOKEN", "A]B", "Authorization", "A\n[B].c"])
def test_values_that_may_be_secret_are_left_out_whatever_they_are_called(
    place: str, name: str
) -> None:
    old = {"kind": "Thing", "spec": {place: [{"name": name, "value": "hunter2"}]}}
    new = {"kind": "Thing", "spec": {place: [{"name": name, "value": "hunter3"}]}}
    (change,) = changed_fields(old, new)
    assert (change.old, change.new) == (None, None)
