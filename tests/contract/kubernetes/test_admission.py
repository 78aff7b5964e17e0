"""Writes past Upwell's API, on a real API server that asks a running `upwell serve`."""

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from tests.support.cluster.workloads import PLACEHOLDER, manifest
from tests.support.kubernetes.asking_cluster import ANN, SYSTEM, AskingCluster, asking_cluster
from tests.support.kubernetes.cluster import KitCluster
from tests.support.kubernetes.served_cluster import until
from tests.support.kubernetes.written_objects import (
    A,
    B,
    build_config,
    deployment_config,
    job_with,
    job_with_secret,
    pipeline,
)
from tests.support.second_tries import is_tried_again

from upwell.api.apps import TRIGGERS_ANNOTATION, Deployment
from upwell.cli.install.files import yaml_of

_START_SECONDS = 90.0


@pytest.fixture
def served(serving: AskingCluster, request: pytest.FixtureRequest) -> AskingCluster:
    """Give the cluster of all tests here, without what a failed try of this one has left."""
    if is_tried_again(request):
        serving.forget()
    return serving


@pytest.fixture(scope="module")
def serving(
    cluster: KitCluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[AskingCluster]:
    with asking_cluster(cluster, tmp_path_factory.mktemp("upwell")) as there:
        yield there


def _until_refused(served: AskingCluster, objects: list[dict[str, Any]], words: str) -> None:
    """Wait until each object is refused with these words: RBAC has what was just given by then."""

    def refused() -> bool:
        if served.apply(*objects).count(words) == len(objects):
            return True
        # Of what is there, and as it is, the cluster is not asked again.
        served.kubectl("-n", A, "delete", "-f", "-", given=yaml_of(objects))
        return False

    until(refused, bool)


@pytest.mark.parametrize(
    ("wanted", "lacking", "rule"),
    [
        (
            pipeline("sets"),
            "patch deployments in namespace adm-b",
            {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["patch"]},
        ),
        (
            build_config("takes", B),
            "get imagestreams in namespace adm-b",
            {"apiGroups": ["image.openshift.io"], "resources": ["imagestreams"], "verbs": ["get"]},
        ),
        (
            pipeline("uses", **job_with_secret()),
            "use secrets in namespace adm-b",
            {
                "apiGroups": ["", "batch"],
                "resources": ["secrets", "jobs"],
                "verbs": ["get", "create"],
            },
        ),
    ],
    ids=["stage", "stream", "secret"],
)
def test_another_namespace_takes_the_right_that_its_rbac_gives(
    served: AskingCluster, wanted: dict[str, Any], lacking: str, rule: dict[str, Any]
) -> None:
    if wanted["metadata"]["name"] == "uses":
        served.give(B, "ann", {"apiGroups": ["apps", "batch"], "resources": ["*"], "verbs": ["*"]})
    else:
        served.kubectl("-n", B, "delete", "rolebinding", "given-ann")
    deadline = time.monotonic() + 60
    kind, name = wanted["kind"].lower(), wanted["metadata"]["name"]
    while lacking not in (said := served.apply(wanted)):
        # What was given before is good for seconds; of what is there, the cluster is not asked.
        served.kubectl("-n", A, "delete", f"{kind}/{name}")
        assert time.monotonic() < deadline, said
    assert "denied the request: user ann may not write" in said

    both = {"apiGroups": ["apps", "batch"], "resources": ["*"], "verbs": ["*"]}
    served.give(B, "ann", rule, *([both] if "jobs" in rule["resources"] else []))
    try:
        while "created" not in (said := served.apply(wanted)):
            assert time.monotonic() < deadline, said
        author = served.annotations(f"{kind}/{name}")["upwell.dev/author"]
        assert author == "system:cluster-user:ann"
    finally:
        served.kubectl("-n", A, "delete", f"{kind}/{name}")  # a workload has one Pipeline


def test_an_author_is_who_writes_whatever_the_object_says(served: AskingCluster) -> None:
    forged = build_config("forged")
    forged["metadata"]["annotations"] = {
        "upwell.dev/author": "system:admin",
        "upwell.dev/author-groups": "system:masters",
    }
    assert "created" in served.apply(forged)
    kept = served.annotations("buildconfig/forged")
    assert kept["upwell.dev/author"] == "system:cluster-user:ann"
    assert kept["upwell.dev/author-groups"] == "system:authenticated"
    assert kept["upwell.dev/admission"]

    patch = json.dumps({"metadata": {"annotations": {"upwell.dev/author": "system:admin"}}})
    served.kubectl("-n", A, "patch", "buildconfig/forged", "--type=merge", "-p", patch, user="ann")
    again = served.annotations("buildconfig/forged")
    assert again["upwell.dev/author"] == "system:cluster-user:ann"


def test_nobody_gets_by_an_object_what_they_may_not_do_themselves(served: AskingCluster) -> None:
    """Those who may write Upwell's kinds alone reach no account, Secret or part of a node."""
    configs = {"apiGroups": ["apps.openshift.io"], "resources": ["*"], "verbs": ["*"]}
    served.give(A, "ann", *ANN, configs)
    hook: dict[str, Any] = {
        "env": [{"name": "K", "valueFrom": {"secretKeyRef": {"name": "key", "key": "k"}}}]
    }
    hook |= {"command": ["x"], "containerName": "web"}
    pre = {"pre": {"failurePolicy": "Abort", "execNewPod": hook}}
    path: Any = {"volumes": [{"name": "node", "hostPath": {"path": "/"}}]}
    privileged = {"securityContext": {"privileged": True}}
    on_node = build_config("on-node")
    on_node["metadata"]["annotations"] = {"upwell.dev/host-network": "true"}
    wanted: dict[str, list[dict[str, Any]]] = {
        "use serviceaccounts": [
            build_config("as-robot", serviceAccount="robot"),
            deployment_config("as-robot", serviceAccountName="robot"),
            deployment_config("as-other-robot", serviceAccount="robot"),
            pipeline("as-robot", A, **job_with(serviceAccountName="robot")),
        ],
        "use secrets": [
            build_config("key", output={"pushSecret": {"name": "key"}}),
            deployment_config("hook-key", {"type": "Rolling", "rollingParams": pre}),
            pipeline("key", A, **job_with_secret()),
        ],
        "use hostpaths": [
            deployment_config("node", **path),
            pipeline("node", A, **job_with(**path)),
        ],
        "use hostnetwork": [on_node],
        "use privileged": [deployment_config("root", container=privileged)],
    }
    for right, objects in wanted.items():
        _until_refused(served, objects, f"{right} in namespace {A}")
    served.give(A, "ann", *ANN, {"apiGroups": [""], "resources": ["pods"], "verbs": ["create"]})
    deadline = time.monotonic() + 60
    while "created" not in (said := served.apply(wanted["use serviceaccounts"][0])):
        assert time.monotonic() < deadline, said


def test_a_status_is_upwells_alone(served: AskingCluster) -> None:
    assert "created" in served.apply(pipeline("approved", A, approval={"required": 1}))
    status = json.dumps({"status": {"stages": [{"name": "live"}]}})
    patch = ("patch", "pipeline/approved", "--subresource=status", "--type=merge", "-p", status)
    for user in ("ann", ""):  # not even an administrator's
        said = served.kubectl("-n", A, *patch, user=user)
        assert "Upwell alone does" in said, said
    said = served.kubectl("-n", A, "delete", "pipeline/approved", user="ann")
    assert "create pipelines/override" in said


def test_faults_are_told_with_their_paths(served: AskingCluster) -> None:
    wrong = pipeline("wrong", A)
    wrong["spec"]["stages"][0]["name"] = "LIVE!"
    assert "spec.stages[0].name" in served.apply(wrong)


def test_a_workload_gets_images_of_another_namespace_that_its_own_may_have(
    served: AskingCluster,
) -> None:
    """The author of its annotation is unknown, and not the administrator."""
    own = f"system:serviceaccount:{SYSTEM}:upwell"
    stream = {
        "metadata": {"namespace": B, "name": "app"},
        **_kind("image.openshift.io/v1", "ImageStream"),
    }
    image = f"registry.test/app@sha256:{'a' * 64}"
    event = {
        "created": "2026-01-01T00:00:00Z",
        "dockerImageReference": image,
        "image": image.partition("@")[2],
    }
    served.apply(stream, user=own)
    made = json.loads(served.kubectl("-n", B, "get", "imagestream/app", "-o", "json"))
    made["status"] = {"tags": [{"tag": "latest", "items": [event]}]}
    replace = ("replace", "--subresource=status", "-f", "-")
    said = served.kubectl("-n", B, *replace, user=own, given=json.dumps(made))
    assert "replaced" in said, said

    web = manifest(Deployment, "follower", namespace=A)
    trigger = json.loads(web["metadata"]["annotations"][TRIGGERS_ANNOTATION])[0]
    trigger["from"]["namespace"] = B
    web["metadata"]["annotations"][TRIGGERS_ANNOTATION] = json.dumps([trigger])
    assert "created" in served.apply(web)
    path = "jsonpath={.spec.template.spec.containers[0].image}"
    deadline = time.monotonic() + _START_SECONDS
    while "MissingRight" not in (said := served.kubectl("-n", A, "get", "events")):
        assert time.monotonic() < deadline, said
        if served.kubectl("-n", A, "get", "deployment/follower", "-o", path) == image:
            # What a failed try was given is good for seconds, and of a set image nothing is asked.
            served.kubectl("-n", A, "delete", "deployment/follower")
            served.apply(web)
    assert f"system:serviceaccounts:{A}" in said
    assert served.kubectl("-n", A, "get", "deployment/follower", "-o", path) == PLACEHOLDER

    rule = {"apiGroups": ["image.openshift.io"], "resources": ["imagestreams"], "verbs": ["get"]}
    served.give(B, f"system:serviceaccounts:{A}", rule)
    while served.kubectl("-n", A, "get", "deployment/follower", "-o", path) != image:
        # A change is asked about at once; without one, that is in half a minute.
        touched = f"touched={time.monotonic()}"
        served.kubectl("-n", A, "annotate", "deployment/follower", touched, "--overwrite")
        assert time.monotonic() < deadline, served.kubectl("-n", A, "get", "events")


def _kind(api: str, kind: str) -> dict[str, Any]:
    return {"apiVersion": api, "kind": kind}
