"""Fields that one machine does not honour are refused; what is stored with them goes on."""

import copy
from typing import Any

import pytest
from tests.support.mutations.admission import refusal

CONTAINER = "spec.containers[0]"


def pod(container: dict[str, Any] | None = None, **spec: object) -> dict[str, Any]:
    """Return a Pod with one container."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "web"},
        "spec": {"containers": [{"name": "web", "image": "web:1", **(container or {})}], **spec},
    }


def deployment(of: dict[str, Any]) -> dict[str, Any]:
    """Return a Deployment of Pods like that."""
    labels = {"app": "web"}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web"},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": of["spec"]},
        },
    }


def volume(**source: object) -> dict[str, Any]:
    """Return a Pod with a volume."""
    return pod(volumes=[{"name": "data", **source}])


def variable(**source: object) -> dict[str, Any]:
    """Return a Pod with a variable."""
    return pod({"env": [{"name": "A", "valueFrom": source}]})


UNSUPPORTED = [
    (pod(hostNetwork=True), "spec.hostNetwork", "Service"),
    (
        pod(ephemeralContainers=[{"name": "debug", "image": "busybox"}]),
        "spec.ephemeralContainers",
        "exec",
    ),
    (volume(csi={"driver": "a.b"}), "spec.volumes[0].csi", "persistentVolumeClaim"),
    (volume(nfs={"server": "a", "path": "/"}), "spec.volumes[0].nfs", "persistentVolumeClaim"),
    (volume(image={"reference": "a:1"}), "spec.volumes[0].image", "persistentVolumeClaim"),
    (volume(ephemeral={}), "spec.volumes[0].ephemeral", "persistentVolumeClaim"),
    (
        volume(projected={"sources": [{"clusterTrustBundle": {"path": "a"}}]}),
        "spec.volumes[0].projected.sources[0].clusterTrustBundle",
        "one machine",
    ),
    (pod({"livenessProbe": {"grpc": {"port": 1}}}), f"{CONTAINER}.livenessProbe.grpc", "exec"),
    (pod({"readinessProbe": {"grpc": {"port": 1}}}), f"{CONTAINER}.readinessProbe.grpc", "exec"),
    (pod({"startupProbe": {"grpc": {"port": 1}}}), f"{CONTAINER}.startupProbe.grpc", "exec"),
    (
        pod({"lifecycle": {"preStop": {"tcpSocket": {"port": 1}}}}),
        f"{CONTAINER}.lifecycle.preStop.tcpSocket",
        "exec",
    ),
    (
        pod({"volumeDevices": [{"name": "data", "devicePath": "/d"}]}, volumes=[{"name": "data"}]),
        f"{CONTAINER}.volumeDevices",
        "volumeMounts",
    ),
    (
        pod(
            {"volumeMounts": [{"name": "data", "mountPath": "/d", "subPathExpr": "$(A)"}]},
            volumes=[{"name": "data"}],
        ),
        f"{CONTAINER}.volumeMounts[0].subPathExpr",
        "subPath",
    ),
    (
        variable(resourceFieldRef={"resource": "limits.cpu"}),
        f"{CONTAINER}.env[0].valueFrom.resourceFieldRef",
        "configMapKeyRef",
    ),
    *(
        (
            variable(fieldRef={"fieldPath": field}),
            f"{CONTAINER}.env[0].valueFrom.fieldRef.fieldPath",
            "metadata.name",
        )
        for field in ("status.podIP", "metadata.uid", "spec.nodeName")
    ),
]


@pytest.mark.parametrize(("document", "path", "told"), UNSUPPORTED)
def test_it_is_refused_at_its_path_with_what_to_do(
    document: dict[str, Any], path: str, told: str
) -> None:
    for sent, where in ((document, path), (deployment(document), f"spec.template.{path}")):
        why = refusal(sent)
        assert why is not None
        assert f"{where}: Forbidden" in why
        assert told in why
        assert "; " not in why  # nothing else is wrong with it


@pytest.mark.parametrize(("document", "path", "told"), UNSUPPORTED)
def test_what_is_stored_with_it_can_be_changed_elsewhere(
    document: dict[str, Any], path: str, told: str
) -> None:
    del path, told
    old = deployment(document)
    new = copy.deepcopy(old)
    new["spec"]["replicas"] = 3
    new["spec"]["template"]["spec"].setdefault("volumes", []).insert(0, {"name": "first"})

    assert refusal(new, old) is None


@pytest.mark.parametrize(
    "document",
    [
        pod(hostNetwork=False, ephemeralContainers=[]),
        volume(emptyDir={}),
        variable(fieldRef={"fieldPath": "metadata.labels['app']"}),
        variable(fieldRef={"fieldPath": "status.hostIP"}),
        variable(secretKeyRef={"name": "a", "key": "b"}),
        pod({"lifecycle": {"preStop": {"sleep": {"seconds": 1}}}}),
    ],
)
def test_what_there_is_is_accepted(document: dict[str, Any]) -> None:
    assert refusal(document) is None
    assert refusal(deployment(document)) is None
