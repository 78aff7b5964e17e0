"""Rights to the host that workloads take, and of whom they are asked again."""

from typing import Any

import pytest

from upwell.api.apps import Deployment
from upwell.api.codec import decode_as
from upwell.policy.access.authority import refusal
from upwell.policy.access.roles import parse_grants

DEPLOYER = parse_grants("deployer@shop")
ADMIN = parse_grants("admin@shop")
HOST_PATH: dict[str, Any] = {"volumes": [{"name": "d", "hostPath": {"path": "/srv"}}]}


def deployment(
    container: dict[str, Any] | None = None, replicas: int = 1, **pod: Any
) -> Deployment:
    containers = [{"name": "web", "image": "web", **(container or {})}]
    spec = {"replicas": replicas, "template": {"spec": {"containers": containers, **pod}}}
    document = {"metadata": {"name": "web", "namespace": "shop"}, "spec": spec}
    return decode_as(Deployment, document)


@pytest.mark.parametrize(
    ("resource", "right"),
    [
        (deployment(**HOST_PATH), "hostpaths"),
        (deployment(hostNetwork=True), "hostnetwork"),
        (deployment({"securityContext": {"privileged": True}}), "privileged"),
        (deployment({"securityContext": {"capabilities": {"add": ["SYS_ADMIN"]}}}), "privileged"),
        (deployment({"ports": [{"containerPort": 80, "hostPort": 80}]}), "hostports"),
    ],
)
def test_a_part_of_the_host_takes_a_right(resource: Deployment, right: str) -> None:
    why = refusal(resource, None, DEPLOYER)

    assert why is not None
    assert f"use {right} in namespace shop needs role admin there" in why
    assert refusal(resource, None, ADMIN) is None


def test_ordinary_workloads_take_none() -> None:
    assert refusal(deployment({"securityContext": {"runAsUser": 0}}), None, DEPLOYER) is None


def test_who_changes_the_template_is_asked_again() -> None:
    old = deployment(**HOST_PATH)

    assert refusal(deployment(replicas=3, **HOST_PATH), old, DEPLOYER) is None
    assert refusal(deployment({"image": "evil"}, **HOST_PATH), old, DEPLOYER) is not None
    assert refusal(deployment(), old, DEPLOYER) is None
