"""Rules of Clusters."""

from typing import Any

import pytest

from upwell.api.clusters.cluster import Cluster
from upwell.api.codec import decode_as
from upwell.api.validation.objects import validate

SECRET = {"secretRef": {"namespace": "ops", "name": "east"}}


def faults(name: str = "east", **spec: Any) -> list[str]:
    cluster = decode_as(Cluster, {"metadata": {"name": name}, "spec": spec})
    return [str(fault) for fault in validate(cluster)]


def test_a_cluster_is_another_one_or_the_own() -> None:
    assert faults(kubeConfig=SECRET, namespaces=["shop"], mirror="registry.example/apps") == []
    assert faults("local", local=True) == []


@pytest.mark.parametrize(
    ("name", "spec", "fault"),
    [
        ("east", {}, "set either kubeConfig or local"),
        ("east", {"local": True}, "true for the Cluster named local"),
        ("local", {"kubeConfig": SECRET}, "true for the Cluster named local"),
        ("east", {"kubeConfig": {"secretRef": {"name": "east"}}}, "secretRef.namespace"),
        ("east", {"kubeConfig": SECRET, "namespaces": ["A B"]}, "not a lower-case DNS label"),
        ("east", {"kubeConfig": SECRET, "namespaces": ["a"] * 51}, "at most 50"),
        ("east", {"kubeConfig": SECRET, "mirror": "no registry"}, "spec.mirror"),
    ],
)
def test_what_is_wrong_is_said(name: str, spec: dict[str, Any], fault: str) -> None:
    assert any(fault in one for one in faults(name, **spec))
