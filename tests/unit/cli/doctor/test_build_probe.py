"""The probe of builds, against a kubectl that plays a cluster on which some Pods can build."""

import json
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import pytest

from upwell.cli.core.errors import CommandError
from upwell.cli.doctor.build_probe import BuildProbe
from upwell.cli.install.kubectl import KubectlRunner
from upwell.machine.checks import HostCheckStatus

DONE = json.dumps({"digest": None, "stages": {}, "image": "sha256:1"})
REFUSED = {
    "error": "BuildError",
    "reason": "DockerBuildFailed",
    "message": "exit status 1",
    "retryable": False,
    "retryAfter": None,
}


@dataclass(frozen=True)
class PlayedKubectl(KubectlRunner):
    """kubectl on a cluster whose Pods end with what their privilege comes to."""

    ends: dict[str, dict[str, Any]] = field(default_factory=dict)
    """State of the container, by privilege."""
    refusal: str = ""
    namespaces: tuple[str, ...] = ("builds",)
    pods: dict[str, dict[str, Any]] = field(default_factory=dict)
    made: list[dict[str, Any]] = field(default_factory=list)

    def ask(self, *arguments: str, given: str | None = None) -> str:
        match arguments:
            case ("create", *_):
                pod = json.loads(given or "")
                if self.refusal:
                    raise CommandError(self.refusal)
                self.pods[pod["metadata"]["name"]] = pod
                self.made.append(pod)
            case ("get", "namespace", name, *_):
                return json.dumps({"metadata": {"name": name}}) if name in self.namespaces else ""
            case ("get", "pod", name, *_):
                state = self.ends[name.rpartition("-")[2]]
                container = {"name": "build", "state": state}
                return json.dumps({**self.pods[name], "status": {"containerStatuses": [container]}})
            case ("delete", "pod", name, *_):
                self.pods.pop(name, None)
            case ("logs", *_):
                return "newuidmap: write to uid_map failed\n"
        return ""


def ended(message: str) -> dict[str, Any]:
    return {"terminated": {"exitCode": 1, "reason": "Error", "message": message}}


def probe() -> BuildProbe:
    ticks = count(0, 10)
    return BuildProbe("upwell.test/upwell:1", "builds", lambda _: None, lambda: next(ticks))


def test_the_least_privilege_that_is_enough_is_named_with_what_lesser_ones_lack() -> None:
    failed = ended(json.dumps(REFUSED))
    kubectl = PlayedKubectl(ends={"rootless": failed, "root": ended(DONE)})

    found = probe().check(kubectl)

    assert found.status is HostCheckStatus.WARN
    assert "rootless: exit status 1 newuidmap: write to uid_map failed" in found.detail
    assert found.remedy == '[kubernetes.builds] privilege = "root"'
    assert [one["metadata"]["namespace"] for one in kubectl.made] == ["builds", "builds"]
    assert kubectl.pods == {}


def test_one_pod_is_made_where_the_least_is_enough() -> None:
    kubectl = PlayedKubectl(ends={"rootless": ended(DONE)})
    assert probe().check(kubectl).status is HostCheckStatus.OK
    assert len(kubectl.made) == 1
    assert not kubectl.pods


@pytest.mark.parametrize(
    ("ends", "refusal", "told"),
    [
        ({"running": {}}, "", "has not ended"),
        ({"waiting": {"reason": "ImagePullBackOff", "message": "not found"}}, "", "do not get"),
        ({}, 'violates PodSecurity "restricted:latest"', "violates PodSecurity"),
    ],
)
def test_what_keeps_pods_from_building_is_told_and_no_pod_is_left(
    ends: dict[str, Any], refusal: str, told: str
) -> None:
    every = dict.fromkeys(("rootless", "root", "privileged"), ends)
    kubectl = PlayedKubectl(ends=every, refusal=refusal)

    found = probe().check(kubectl)

    assert found.status is HostCheckStatus.FAIL
    assert told in found.detail
    assert not kubectl.pods


def test_a_namespace_that_is_not_there_is_told_and_nothing_else_is_blamed() -> None:
    kubectl = PlayedKubectl(namespaces=())

    found = probe().check(kubectl)

    assert found.status is HostCheckStatus.FAIL
    assert found.detail == "namespace builds is not there"
    assert "--probe-namespace" in found.remedy
    assert not kubectl.made
