"""Test the Pods of builds."""

from dataclasses import replace
from typing import Any

import pytest

from upwell.builder.interface import (
    BuilderStrategy,
    BuildLimits,
    BuildPlan,
    BuildPrivilege,
    Placement,
)
from upwell.builder.kubernetes.manifests import PodSettings, pod_manifest, pod_name

PLAN = BuildPlan("uid-1", "shop", "app-1", BuilderStrategy.DOCKER, None, {}, None)
SETTINGS = PodSettings("upwell.test/upwell:1")


def made(plan: BuildPlan = PLAN, settings: PodSettings = SETTINGS) -> dict[str, Any]:
    return pod_manifest(plan, settings, name="app-1-build", plan_hash="hash")


def container(manifest: dict[str, Any]) -> dict[str, Any]:
    [found] = manifest["spec"]["containers"]
    return dict(found)


def test_a_pod_belongs_to_its_build_and_runs_once_without_a_token() -> None:
    pod = made()
    [owner] = pod["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["name"], owner["uid"]) == ("Build", "app-1", "uid-1")
    assert pod["spec"]["restartPolicy"] == "Never"
    assert pod["spec"]["automountServiceAccountToken"] is False
    assert "hostPath" not in str(pod)


def test_the_build_config_says_where_and_with_what_it_runs() -> None:
    placement = Placement("maker", {"disk": "fast"}, {"cpu": "1"}, {"memory": "1Gi"})
    settings = replace(
        SETTINGS,
        pull_secrets=("pull",),
        node_selector={"pool": "builds"},
        tolerations=({"key": "builds", "operator": "Exists"},),
        requests={"cpu": "100m", "memory": "64Mi"},
        storage="10Gi",
        service_account="builder",
    )
    plan = replace(PLAN, placement=placement, limits=BuildLimits(2**30, 0.5), deadline_seconds=90.4)
    pod = made(plan, settings)
    spec = pod["spec"]
    assert spec["serviceAccountName"] == "maker"
    assert spec["nodeSelector"] == {"disk": "fast", "pool": "builds"}
    assert {"key": "builds", "operator": "Exists"} in spec["tolerations"]
    assert spec["imagePullSecrets"] == [{"name": "pull"}]
    assert spec["activeDeadlineSeconds"] == 150
    assert container(pod)["resources"] == {
        "limits": {"memory": "1Gi", "cpu": "500m"},
        "requests": {"cpu": "1"},
    }
    assert {"name": "work", "emptyDir": {"sizeLimit": "10Gi"}} in spec["volumes"]
    assert made(PLAN, settings)["spec"]["serviceAccountName"] == "builder"


@pytest.mark.parametrize("privilege", BuildPrivilege)
def test_only_the_last_privilege_is_the_nodes(privilege: BuildPrivilege) -> None:
    pod = made(settings=replace(SETTINGS, privilege=privilege))
    security = container(pod)["securityContext"]
    assert security.get("privileged", False) is (privilege is BuildPrivilege.PRIVILEGED)
    is_root = pod["spec"]["securityContext"]["runAsUser"] == 0
    assert is_root is (privilege is not BuildPrivilege.ROOTLESS)


def test_each_build_config_has_a_folder_of_its_own_in_the_claim() -> None:
    settings = replace(SETTINGS, cache_claim="cache")

    def folder(key: str) -> str:
        plan = replace(PLAN, cache_key=key)
        pod = pod_manifest(plan, settings, name="app-1-build", plan_hash="hash", cached=True)
        [mount] = [one for one in container(pod)["volumeMounts"] if one["name"] == "cache"]
        claim = {"name": "cache", "persistentVolumeClaim": {"claimName": "cache"}}
        assert claim in pod["spec"]["volumes"]
        assert pod["spec"]["securityContext"]["fsGroupChangePolicy"] == "OnRootMismatch"
        return str(mount["subPath"])

    assert folder("shop/uid-a") == folder("shop/uid-a") != folder("shop/uid-b")
    assert "cache" not in str(made(replace(PLAN, cache_key="shop/uid-a"), settings)["spec"])


def test_names_of_pods_are_names() -> None:
    assert pod_name("app-1", 1) == "app-1-build"
    assert pod_name("app-1", 2) == "app-1-build-2"
    longest = {pod_name("a" * 252 + letter, 1) for letter in "ab"}
    assert [len(name) for name in longest] == [253, 253]
    label = made(replace(PLAN, name="a" * 62 + "." + "b"))["metadata"]["labels"]
    assert label["openshift.io/build.name"] == "a" * 62
