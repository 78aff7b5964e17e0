"""The Pods of debug: what they keep of their original, and what not."""

from typing import Any

import pytest

from upwell.cli.core.errors import CommandError
from upwell.cli.workloads.debug_pods import DebugOptions, debug_pod, image_pod

PROBE = {"tcpSocket": {"port": 80}}
DEPLOYMENT: dict[str, Any] = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "shop", "namespace": "web", "labels": {"of": "deployment"}},
    "spec": {
        "template": {
            "metadata": {"labels": {"app": "shop"}, "annotations": {"a": "b"}},
            "spec": {
                "nodeName": "one",
                "restartPolicy": "Always",
                "securityContext": {"runAsNonRoot": True, "fsGroup": 7},
                "initContainers": [{"name": "init", "image": "init:1"}],
                "containers": [
                    {
                        "name": "web",
                        "image": "web:1",
                        "args": ["serve"],
                        "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
                        "ports": [{"containerPort": 80, "hostPort": 80}],
                        "readinessProbe": PROBE,
                        "livenessProbe": PROBE,
                        "securityContext": {"runAsNonRoot": True, "runAsUser": 5},
                    },
                    {"name": "log", "image": "log:1", "readinessProbe": PROBE},
                ],
            },
        }
    },
}


def test_a_copy_has_neither_labels_probes_nor_its_command() -> None:
    pod = debug_pod(DEPLOYMENT, "web", DebugOptions(images={"log": "log@sha256:1"}))
    assert pod["metadata"]["name"].startswith("shop-debug-")
    assert pod["metadata"]["annotations"] == {
        "debug.openshift.io/source-resource": "deployment/shop",
        "debug.openshift.io/source-container": "web",
    }
    assert "labels" not in pod["metadata"]
    spec = pod["spec"]
    assert (spec["restartPolicy"], "nodeName" in spec) == ("Never", False)
    web, log = spec["containers"]
    assert (web["command"], web["stdin"], web["tty"]) == (["/bin/sh"], True, True)
    assert not {"args", "readinessProbe", "livenessProbe"} & set(web)
    assert web["ports"] == [{"containerPort": 80}]
    assert (log["image"], log["readinessProbe"]) == ("log@sha256:1", PROBE)
    assert DEPLOYMENT["spec"]["template"]["spec"]["containers"][0]["args"] == ["serve"]


def test_options_change_the_copy() -> None:
    options = DebugOptions(
        container="web",
        image="tools:1",
        as_root=True,
        keep_labels=True,
        keep_annotations=True,
        keep_readiness=True,
        one_container=True,
        command=("env",),
        environment=("A-", "B=3", "C=4"),
        stdin=False,
        tty=False,
    )
    pod = debug_pod(DEPLOYMENT, "web", options)
    assert pod["metadata"]["labels"] == {"app": "shop"}
    assert pod["metadata"]["annotations"]["a"] == "b"
    assert "initContainers" not in pod["spec"]
    assert pod["spec"]["securityContext"] == {"fsGroup": 7}
    [web] = pod["spec"]["containers"]
    assert web["securityContext"] == {"runAsUser": 0}
    assert (web["image"], web["command"], web["readinessProbe"]) == ("tools:1", ["env"], PROBE)
    assert web["env"] == [{"name": "B", "value": "3"}, {"name": "C", "value": "4"}]
    assert "stdin" not in web


def test_an_instance_and_an_image_are_copied_under_names_that_pods_may_have() -> None:
    name = "upwell-default-deploy-" + "shop-" * 9 + "1b2c3d4e-0"
    pod = {**image_pod(name, "x"), "metadata": {"name": name}}
    made = debug_pod(pod, "default", DebugOptions())["metadata"]["name"]
    assert made.startswith("default-deploy-")
    assert len(made) <= 63
    with pytest.raises(CommandError, match="must be one of debug"):
        debug_pod(pod, "default", DebugOptions(container="none"))
