"""Rights to the host that workloads take, and of whom they are asked again."""

import json
from typing import Any

import pytest

from upwell.api.apps import Deployment, DeploymentConfig
from upwell.api.codec import decode_as
from upwell.api.values.author import author_of
from upwell.policy.access.authority import Requester, authored, refusal
from upwell.policy.access.rights import GrantedRights
from upwell.policy.access.roles import parse_grants

DEPLOYER = GrantedRights(parse_grants("deployer@shop"))
ADMIN = GrantedRights(parse_grants("admin@shop"))
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
        (deployment(hostUsers=True), "hostusers"),
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
    assert refusal(deployment(hostUsers=False), None, DEPLOYER) is None


def test_who_changes_the_template_is_asked_again() -> None:
    old = deployment(**HOST_PATH)

    assert refusal(deployment(replicas=3, **HOST_PATH), old, DEPLOYER) is None
    assert refusal(deployment({"image": "evil"}, **HOST_PATH), old, DEPLOYER) is not None
    assert refusal(deployment(), old, DEPLOYER) is None


TRIGGERS = "image.openshift.io/triggers"
RESOLVE = "alpha.image.policy.openshift.io/resolve-names"


def follow(tag: str, **more: Any) -> str:
    source = {"kind": "ImageStreamTag", "name": tag}
    path = "spec.template.spec.containers[0].image"
    return json.dumps([{"from": source, "fieldPath": path, **more}])


@pytest.mark.parametrize(
    "annotations",
    [
        {TRIGGERS: follow("evil:1")},
        {TRIGGERS: follow("app:1", paused=True)},
        {RESOLVE: "*", TRIGGERS: follow("app:1")},
        {"upwell.dev/promoted": "", TRIGGERS: follow("app:1")},
        {},
    ],
)
def test_who_has_another_image_run_with_the_rights_of_the_host_is_asked_again(
    annotations: dict[str, str],
) -> None:
    given = deployment(**HOST_PATH).with_metadata(annotations={TRIGGERS: follow("app:1")})
    changed = given.with_metadata(annotations=annotations)

    why = refusal(changed, given, DEPLOYER)

    assert why is not None
    assert "use hostpaths in namespace shop" in why
    assert refusal(changed, given, ADMIN) is None
    noted = {**given.annotations, "team": "web", "upwell.dev/hold": "wait"}
    assert refusal(given.with_metadata(annotations=noted), given, DEPLOYER) is None


def test_a_trigger_of_a_deployment_config_is_asked_for_like_its_template() -> None:
    def config(tag: str) -> DeploymentConfig:
        source = {"kind": "ImageStreamTag", "name": tag}
        change = {"automatic": True, "containerNames": ["web"], "from": source}
        spec = deployment(**HOST_PATH).spec.template.model_dump(by_alias=True, mode="json")
        triggers = [{"type": "ImageChange", "imageChangeParams": change}]
        document = {
            "metadata": {"name": "web", "namespace": "shop"},
            "spec": {"template": spec, "triggers": triggers},
        }
        return decode_as(DeploymentConfig, document)

    assert refusal(config("evil:1"), config("app:1"), DEPLOYER) is not None
    assert refusal(config("app:1"), config("app:1"), DEPLOYER) is None


def test_who_has_a_hook_run_with_the_rights_of_the_host_is_asked_again() -> None:
    def config(*command: str) -> DeploymentConfig:
        hook = {"failurePolicy": "Abort", "execNewPod": {"command": command, "volumes": ["d"]}}
        strategy = {"type": "Rolling", "rollingParams": {"pre": hook} if command else {}}
        spec = deployment(**HOST_PATH).spec.template.model_dump(by_alias=True, mode="json")
        document = {
            "metadata": {"name": "web", "namespace": "shop"},
            "spec": {"template": spec, "strategy": strategy},
        }
        return decode_as(DeploymentConfig, document)

    assert refusal(config("cat", "/d"), config(), DEPLOYER) is not None
    assert refusal(config("cat", "/d"), config("true"), DEPLOYER) is not None
    assert refusal(config("true"), config("true"), DEPLOYER) is None
    assert refusal(config(), config(), DEPLOYER) is None
    assert refusal(config("cat", "/d"), config(), ADMIN) is None


def test_who_changes_a_trigger_is_the_author_of_what_it_runs() -> None:
    given = deployment().with_metadata(annotations={"upwell.dev/author": "root"})
    eve = Requester("eve", DEPLOYER)
    changed = given.with_metadata(annotations={TRIGGERS: follow("app:1")})

    assert author_of(authored(changed, given, eve)) == "eve"
    assert author_of(authored(given.with_metadata(labels={"a": "b"}), given, eve)) == "root"
