"""OpenShift's own DeploymentConfigs (corpus, section C) on a cluster whose node runs containers.

The manifests are created as they are, and the node has a busybox by the name of their image.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.support.builds.base_images import root_file_system, run
from tests.support.builds.openshift_corpus import CORPUS, DEPLOYMENTS
from tests.support.faults.on_demand import on_demand
from tests.support.kubernetes.cluster import KitCluster, started_cluster
from tests.support.kubernetes.served_cluster import AccountServer, served, until
from tests.support.openshift import needs_corpus

pytestmark = [
    needs_corpus,
    pytest.mark.skipif(os.geteuid() != 0, reason="running containers needs root"),
]

IMAGE = "docker.io/library/centos:centos7"
HOOKS = "tests/integration/reconcilers/test_hooks_in_containers.py"
SMALLEST = f"{HOOKS}::test_openshifts_recreate_runs_all_its_hooks"
_TAGGING = {
    "name": "sample-stream",
    "spec": {
        "replicas": 1,
        "test": True,
        "selector": {"name": "sample-stream"},
        "strategy": {
            "type": "Rolling",
            "rollingParams": {
                "post": {
                    "failurePolicy": "Abort",
                    "tagImages": [
                        {
                            "containerName": "myapp",
                            "to": {"kind": "ImageStreamTag", "name": "sample-stream:deployed"},
                        }
                    ],
                }
            },
        },
        "template": {
            "metadata": {"labels": {"name": "sample-stream"}},
            "spec": {
                "terminationGracePeriodSeconds": 0,
                "containers": [
                    {
                        "name": "myapp",
                        "image": "docker.io/centos:centos7",
                        "command": ["/bin/sleep", "infinity"],
                    }
                ],
            },
        },
    },
}


@dataclass(frozen=True)
class NodeCases:
    """A cluster that runs containers, and the server that rolls out there."""

    cluster: KitCluster
    server: AccountServer
    namespace: str

    def kubectl(self, *words: str, given: str | None = None) -> str:
        return self.cluster.kubectl("-n", self.namespace, *words, given=given)

    def upwell(self, *words: str) -> None:
        done = self.server.upwell(*words, "-n", self.namespace)
        assert done.returncode == 0, done.stderr

    def create(self, file: str) -> None:
        """Create the objects of a file of the corpus; those of `v1` are of the group's now."""
        text = (CORPUS / file).read_text()
        now = "apiVersion: apps.openshift.io/v1\nkind: DeploymentConfig"
        text = text.replace("apiVersion: v1\nkind: DeploymentConfig", now)
        self.kubectl("create", "-f", "-", given=text)

    def config(self, name: str) -> dict[str, Any]:
        found = self.kubectl("get", "deploymentconfigs.apps.openshift.io", name, "-o", "json")
        return dict(json.loads(found))

    def progress(self, name: str) -> str:
        """Return the message of the condition `Progressing`."""
        conditions = self.config(name).get("status", {}).get("conditions", ())
        return " ".join(one["message"] for one in conditions if one["type"] == "Progressing")

    def phases(self, name: str) -> list[tuple[int, str]]:
        """Return number and phase of each version, the newest first."""
        revisions = self.config(name).get("status", {}).get("revisions", ())
        return [(one["revision"], one["phase"]) for one in revisions]

    def until_phase(self, name: str, version: int, phase: str) -> dict[str, Any]:
        """Wait for the phase of the newest version; return its record."""
        until(lambda: self.phases(name)[:1], lambda found: found == [(version, phase)])
        return dict(self.config(name)["status"]["revisions"][0])

    def pods(self) -> set[str]:
        """Return the Pods that run and are not on their way out."""
        found = json.loads(self.kubectl("get", "pods", "-o", "json"))["items"]
        return {
            one["metadata"]["name"]
            for one in found
            if one["status"]["phase"] == "Running" and "deletionTimestamp" not in one["metadata"]
        }


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[KitCluster, AccountServer]]:
    folder = tmp_path_factory.mktemp("node")
    archive = busybox_archive(folder)
    with started_cluster(folder / "kube", "real") as cluster:
        cluster.load_image(archive, IMAGE)
        (folder / "upwell.toml").write_text('[kubernetes]\nlease-namespace = "default"\n')
        options = ("--config", str(folder / "upwell.toml"))
        with served(cluster.kubeconfig, folder, *options) as server:
            until(server.readiness, lambda said: "role: leader" in said)
            yield cluster, server


@pytest.fixture
def cases(
    node: tuple[KitCluster, AccountServer], request: pytest.FixtureRequest
) -> Iterator[NodeCases]:
    """Give a namespace of its own: what ends takes the 30 s that the manifests give it."""
    cluster, server = node
    name = "".join(one if one.isalnum() else "-" for one in request.node.name.lower())[-60:]
    namespace = name.strip("-").replace("_", "-")
    cluster.kubectl("create", "namespace", namespace)
    yield NodeCases(cluster, server, namespace)
    cluster.kubectl("delete", "namespace", namespace, "--wait=false")


def busybox_archive(folder: Path) -> Path:
    """Return an archive of an image with the commands of the manifests, in /bin."""
    (folder / "root.tar").write_bytes(root_file_system())
    (folder / "bash").write_text('#!/bin/sh\nexec /bin/sh "$@"\n')
    lines = ("FROM scratch", "ADD root.tar /", "COPY --chmod=755 bash /bin/bash")
    (folder / "Dockerfile").write_text("\n".join(lines) + "\n")
    store = ("buildah", f"--root={folder / 'root'}", f"--runroot={folder / 'run'}")
    made = run(*store, "build", "--quiet", str(folder))
    run(*store, "push", "--quiet", made, f"docker-archive:{folder / 'image.tar'}:{IMAGE}")
    run(*store, "rmi", "--all")
    return folder / "image.tar"


@on_demand(f"{HOOKS}::test_openshifts_failing_hook_is_retried_and_says_so")
def test_case_34_a_failing_hook_is_retried_and_says_so(cases: NodeCases) -> None:
    cases.create(f"{DEPLOYMENTS}/failing-pre-hook.yaml")
    said = until(lambda: cases.progress("hook"), lambda text: "(retry #1)" in text)
    assert "Retrying hook pod (retry #1)" in said
    log = ("-l", "openshift.io/deployer-pod.type=hook-pre", "--tail=1")
    assert "pre hook logs" in said or "pre hook logs" in cases.kubectl("logs", *log)
    assert {name.rpartition("-")[0] for name in cases.pods()} <= {"hook-1-hook"}


@on_demand(SMALLEST)
def test_case_34_recreate_runs_all_its_hooks(cases: NodeCases) -> None:
    cases.create("testdata/complete-dc-hooks.yaml")
    record = cases.until_phase("complete-dc-hooks", 1, "Complete")
    phases = {name: one["phase"] for name, one in record["hooks"].items()}
    assert phases == dict.fromkeys(("pre", "mid", "post"), "Complete")
    until(lambda: len(cases.pods()), lambda count: count == 2)


@on_demand(f"{HOOKS}::test_openshifts_failing_rollout_follows_its_hook")
def test_case_34_a_failing_rollout_follows_its_hook(cases: NodeCases) -> None:
    cases.create("testdata/failing-dc.yaml")
    record = cases.until_phase("failing-dc", 1, "Failed")
    assert record["hooks"]["pre"]["phase"] == "Complete"
    said = cases.progress("failing-dc")
    assert "made no progress for 5 s" in said
    assert "myapp" in said


@on_demand(f"{HOOKS}::test_a_post_hook_tags_what_was_deployed_and_a_test_leaves_nothing")
def test_case_36_a_post_hook_tags_what_was_deployed_and_a_test_leaves_nothing(
    cases: NodeCases,
) -> None:
    kind = {"apiVersion": "apps.openshift.io/v1", "kind": "DeploymentConfig"}
    made = {**kind, "metadata": {"name": _TAGGING["name"]}, "spec": _TAGGING["spec"]}
    cases.kubectl("create", "-f", "-", given=json.dumps(made))
    cases.until_phase("sample-stream", 1, "Complete")
    found = cases.kubectl("get", "imagestreams.image.openshift.io", "sample-stream", "-o", "json")
    [tag] = json.loads(found)["spec"]["tags"]
    assert (tag["name"], tag["from"]["kind"]) == ("deployed", "DockerImage")
    assert tag["from"]["name"] == "docker.io/centos:centos7"
    until(cases.pods, lambda names: not names)


@on_demand(SMALLEST)
def test_case_38_what_is_never_ready_fails(cases: NodeCases) -> None:
    cases.create(f"{DEPLOYMENTS}/readiness-test.yaml")
    cases.until_phase("readiness", 1, "Failed")
    assert "made no progress for 30 s" in cases.progress("readiness")


@on_demand(
    "tests/integration/reconcilers/test_openshift_rollouts.py"
    "::test_latest_makes_a_version_and_undo_goes_back_in_a_third"
)
@pytest.mark.parametrize("name", ["generation-test", "deployment-simple"])
def test_case_39_latest_makes_a_version_and_undo_goes_back_in_a_third(
    cases: NodeCases, name: str
) -> None:
    cases.create(f"{DEPLOYMENTS}/{name}.yaml")
    grace = '{"spec":{"template":{"spec":{"terminationGracePeriodSeconds":0}}}}'
    cases.kubectl("patch", f"deploymentconfig/{name}", "--type=merge", "-p", grace)
    until(lambda: [phase for _, phase in cases.phases(name)][:1], ["Complete"].__eq__)
    [(first, _), *_] = cases.phases(name)

    cases.upwell("rollout", "latest", f"dc/{name}")
    cases.until_phase(name, first + 1, "Complete")
    status = cases.config(name)["status"]
    assert status["latestVersion"] == first + 1
    assert status["observedGeneration"] == cases.config(name)["metadata"]["generation"]

    cases.upwell("rollout", "undo", f"dc/{name}", f"--to-revision={first}")
    cases.until_phase(name, first + 2, "Complete")
    undone = cases.config(name)
    assert undone["status"]["latestVersion"] == first + 2
    held = undone["metadata"]["annotations"]["upwell.dev/hold"]
    assert f"rolled back to revision {first} by hand" in held
    until(lambda: len(cases.pods()), lambda count: count == 1)


@on_demand(SMALLEST)
def test_case_40_a_custom_strategy_is_refused_with_what_to_do(cases: NodeCases) -> None:
    cases.create(f"{DEPLOYMENTS}/custom-deployment.yaml")
    said = until(lambda: cases.progress("custom-deployment"), bool)
    assert "spec.strategy.customParams are not run on a cluster: use Rolling or Recreate" in said
    assert not cases.pods()
