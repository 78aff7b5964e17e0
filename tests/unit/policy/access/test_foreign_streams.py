"""Rights to read that a token needs before an object may take images of another namespace."""

import json
from typing import Any

import pytest

from upwell.api.codec import decode
from upwell.api.meta import Resource
from upwell.policy.access.authority import refusal
from upwell.policy.access.foreign_streams import foreign_streams
from upwell.policy.access.rights import GrantedRights
from upwell.policy.access.roles import parse_grants

BUILDS = "build.openshift.io/v1"
TAG = {"kind": "ImageStreamTag", "name": "base:1", "namespace": "vendor"}
OWN = {"kind": "ImageStreamTag", "name": "base:1"}


def made(kind: str, api_version: str, spec: dict[str, Any], **annotations: str) -> Resource:
    metadata = {"name": "app", "namespace": "shop", "annotations": annotations}
    return decode({"apiVersion": api_version, "kind": kind, "metadata": metadata, "spec": spec})


def deployment(*, namespace: str = "vendor") -> Resource:
    trigger = {
        "from": {"kind": "ImageStreamTag", "name": "base:1", "namespace": namespace},
        "fieldPath": 'spec.template.spec.containers[?(@.name=="app")].image',
    }
    template = {"spec": {"containers": [{"name": "app", "image": " "}]}}
    annotations = {"image.openshift.io/triggers": json.dumps([trigger])}
    return made("Deployment", "apps/v1", {"template": template}, **annotations)


def deployment_config() -> Resource:
    change = {"automatic": True, "containerNames": ["app"], "from": TAG}
    return made(
        "DeploymentConfig",
        "apps.openshift.io/v1",
        {
            "template": {"spec": {"containers": [{"name": "app", "image": " "}]}},
            "triggers": [{"type": "ImageChange", "imageChangeParams": change}],
        },
    )


def stream(source: dict[str, str]) -> Resource:
    tags = [{"name": "1", "from": source}]
    return made("ImageStream", "image.openshift.io/v1", {"tags": tags})


@pytest.mark.parametrize(
    "resource",
    [
        stream(TAG),
        made("BuildConfig", BUILDS, {"strategy": {"dockerStrategy": {"from": TAG}}}),
        made("BuildConfig", BUILDS, {"source": {"images": [{"from": TAG}]}}),
        made(
            "BuildConfig",
            BUILDS,
            {"triggers": [{"type": "ImageChange", "imageChange": {"from": TAG}}]},
        ),
        made("Build", BUILDS, {"strategy": {"sourceStrategy": {"from": TAG}}}),
        deployment(),
        deployment_config(),
    ],
    ids=lambda resource: resource.KIND.kind,
)
def test_an_image_of_another_namespace_asks_for_the_right_to_read_it(resource: Resource) -> None:
    builder = GrantedRights(parse_grants("builder@shop"))
    both = GrantedRights(parse_grants("builder@shop\nviewer@vendor"))
    assert refusal(resource, None, builder) == (
        "takes images from ImageStream vendor/base, and get imagestreams in namespace vendor"
        " needs role viewer there"
    )
    assert refusal(resource, None, both) is None
    assert refusal(resource, resource, builder) is None, "it has it already"


@pytest.mark.parametrize(
    "resource",
    [
        stream(OWN),
        stream({"kind": "DockerImage", "name": "vendor.example/base:1", "namespace": "vendor"}),
        made("BuildConfig", BUILDS, {"strategy": {"dockerStrategy": {"from": OWN}}}),
        deployment(namespace="shop"),
        made("ConfigMap", "v1", {}),
    ],
    ids=lambda resource: resource.KIND.kind,
)
def test_images_of_the_own_namespace_and_of_registries_need_nothing(resource: Resource) -> None:
    assert foreign_streams(resource) == set()
