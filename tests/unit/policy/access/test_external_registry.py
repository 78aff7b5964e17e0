"""Test rights to images below the prefix of a registry elsewhere, which the server logs in to."""

from typing import Any

import pytest

from upwell.api.apps import Deployment
from upwell.api.builds.config import BuildConfig
from upwell.api.codec import decode_as
from upwell.api.pipeline import Pipeline
from upwell.policy.access.images import image_needs
from upwell.policy.access.own_registry import registry_needs

PREFIX = "registry.example/up"


def build_config(output: str) -> BuildConfig:
    document: dict[str, Any] = {
        "metadata": {"name": "app", "namespace": "shop"},
        "spec": {
            "source": {"dockerfile": f"FROM {PREFIX}/bank/base\nFROM registry.example/else/x\n"},
            "strategy": {"dockerStrategy": {}},
            "output": {"to": {"kind": "DockerImage", "name": output}},
        },
    }
    return decode_as(BuildConfig, document)


def pipeline(mirror: str) -> Pipeline:
    stage = {"name": "prod", "workloads": [], "mirror": mirror}
    document: dict[str, Any] = {
        "metadata": {"name": "app", "namespace": "shop"},
        "spec": {"stages": [stage]},
    }
    return decode_as(Pipeline, document)


def deployment(image: str) -> Deployment:
    pod = {"spec": {"containers": [{"name": "app", "image": image}]}}
    document: dict[str, Any] = {
        "metadata": {"name": "app", "namespace": "shop"},
        "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": pod},
    }
    return decode_as(Deployment, document)


def test_what_a_build_takes_and_makes_in_other_namespaces_needs_rights_there() -> None:
    needs = {
        (need.action.verb, need.action.name)
        for need in registry_needs(build_config(f"{PREFIX}/bank/app:v1"), PREFIX)
    }
    assert needs == {("pull", "bank/base"), ("push", "bank/app")}


@pytest.mark.parametrize("output", [f"{PREFIX}/shop/app", "registry.example/bank/app"])
def test_an_output_of_its_own_or_beside_the_prefix_needs_none(output: str) -> None:
    found = registry_needs(build_config(output), PREFIX)
    assert [need.action.verb for need in found] == ["pull"]


@pytest.mark.parametrize(
    ("mirror", "names"),
    [
        (f"{PREFIX}/bank", ["bank/image"]),
        (PREFIX, [""]),
        ("registry.example", [""]),
        ("registry.example/else", []),
    ],
)
def test_a_mirror_of_all_below_the_prefix_or_more_needs_all(mirror: str, names: list[str]) -> None:
    found = registry_needs(pipeline(mirror), PREFIX)
    assert [need.action.name for need in found] == names


def test_an_image_of_another_namespace_needs_the_right_to_pull_it() -> None:
    (need,) = image_needs(deployment(f"{PREFIX}/bank/app@sha256:{'0' * 64}"), PREFIX)
    assert (need.action.verb, need.action.namespace, need.action.name) == (
        "pull",
        "bank",
        "bank/app",
    )
    for other in (f"{PREFIX}/shop/app", "registry.example/bank/app", "quay.example/up/bank/app"):
        assert not list(image_needs(deployment(other), PREFIX))
