"""Image policies over the API: who may write them, and who may ask what they say of an image."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.registry.signed_images import CosignKey, cluster_policy
from tests.support.server.granted_api import REGISTRY, GrantedApi, open_granted_api

from upwell.api.codec import encode
from upwell.oci import Digest

KEY = CosignKey()
POLICIES = "/apis/config.openshift.io/v1/namespaces/a/imagepolicies"
CLUSTER_POLICIES = "/apis/config.openshift.io/v1/clusterimagepolicies"
REVIEWS = "/apis/upwell.dev/v1alpha1/namespaces/a/imagepolicyreviews"
IMAGE = f"registry.internal:5000/a/app@{Digest.of(b'app')}"


@pytest.fixture
async def granted(tmp_path: Path) -> AsyncIterator[GrantedApi]:
    async with open_granted_api(tmp_path) as api:
        yield api


def policy(*scopes: str, version: str = "v1", **enforcement: Any) -> dict[str, Any]:
    spec = encode(cluster_policy("signed", KEY.spec(*scopes)))["spec"]
    return {
        "apiVersion": f"config.openshift.io/{version}",
        "metadata": {"name": "signed"},
        "spec": {**spec, "enforcement": enforcement},
    }


def review(image: str, **spec: Any) -> dict[str, Any]:
    return {"spec": {"image": image, **spec}}


@pytest.mark.parametrize("role", ["viewer", "builder", "deployer", "promoter", "overrider"])
async def test_policies_are_an_admins_alone(granted: GrantedApi, role: str) -> None:
    await granted.grant("one", f"{role}@*")
    for path in (POLICIES, CLUSTER_POLICIES):
        assert (await granted.send("one", "POST", path, policy("*"))).status == 403
        assert (await granted.send("one", "GET", path)).status == 200


async def test_a_namespace_has_its_own_policies_and_not_the_clusters(granted: GrantedApi) -> None:
    await granted.grant("one", "admin@a")
    assert (await granted.send("one", "POST", POLICIES, policy("*"))).status == 201
    assert (await granted.send("one", "POST", CLUSTER_POLICIES, policy("*"))).status == 403
    admin = await granted.send("admin", "POST", CLUSTER_POLICIES, policy("*", version="v1alpha1"))
    assert (admin.status, admin.json["apiVersion"]) == (201, "config.openshift.io/v1")
    deleted = await granted.send("one", "DELETE", f"{CLUSTER_POLICIES}/signed")
    assert deleted.status == 403


async def test_what_is_not_supported_is_refused_by_its_field(granted: GrantedApi) -> None:
    document = policy("quay.io")
    document["spec"]["policy"]["rootOfTrust"] = {"policyType": "Elsewhere"}
    answer = await granted.send("admin", "POST", CLUSTER_POLICIES, document)
    assert answer.status == 422
    assert "spec.policy.rootOfTrust.policyType" in answer.json["message"]


async def test_a_review_says_which_policy_refuses_and_records_nothing(granted: GrantedApi) -> None:
    await granted.grant("one", "builder@a")
    await granted.send("admin", "POST", CLUSTER_POLICIES, policy("*", at=["build"]))
    answer = await granted.send("one", "POST", REVIEWS, review(IMAGE, at="build"))
    assert answer.status == 201
    assert answer.json["status"] == {
        "image": IMAGE,
        "allowed": False,
        "policies": [
            {
                "policy": "ClusterImagePolicy signed",
                "mode": "enforce",
                "passed": False,
                "reason": "NotSigned",
                "message": "it has no signature",
            }
        ],
    }
    rollout = await granted.send("one", "POST", REVIEWS, review(IMAGE))
    assert rollout.json["status"] == {"image": IMAGE, "allowed": True, "policies": []}
    stored = await granted.send("one", "GET", f"{CLUSTER_POLICIES}/signed")
    assert stored.status == 403  # of one namespace alone
    stored = await granted.send("admin", "GET", f"{CLUSTER_POLICIES}/signed")
    assert "findings" not in stored.json.get("status", {})


async def test_a_review_takes_the_rights_of_whoever_uses_the_image(granted: GrantedApi) -> None:
    await granted.grant("one", "builder@a")
    await granted.grant("two", "viewer@a")
    others = await granted.send("one", "POST", REVIEWS, review(f"{REGISTRY}/b/app:1"))
    assert others.status == 403
    assert "pull repositories in namespace b" in others.json["message"]
    assert (await granted.send("two", "POST", REVIEWS, review(IMAGE))).status == 403


@pytest.mark.parametrize(
    ("spec", "fault"),
    [
        ({"at": "sometimes"}, "spec.at"),
        ({"image": ""}, "spec.image"),
        ({"policy": {"scopes": ["*"]}}, "spec.policy.policy.rootOfTrust.policyType"),
    ],
)
async def test_a_review_names_what_is_wrong_with_it(
    granted: GrantedApi, spec: dict[str, Any], fault: str
) -> None:
    answer = await granted.send(
        "admin", "POST", REVIEWS, review(IMAGE) | {"spec": {"image": IMAGE, **spec}}
    )
    assert answer.status == 422
    assert fault in answer.json["message"]


async def test_an_image_that_is_not_there_cannot_be_judged(granted: GrantedApi) -> None:
    missing = review("registry.internal:5000/a/app:9")
    answer = await granted.send("admin", "POST", REVIEWS, missing)
    assert answer.status == 422
    assert "no manifest registry.internal:5000/a/app:9" in answer.json["message"]


async def test_whoever_applies_a_clusters_policy_is_told_the_role_that_writing_takes(
    granted: GrantedApi,
) -> None:
    await granted.grant("one", "deployer@a")
    document = {"kind": "ClusterImagePolicy", **policy("*")}
    place = f"{CLUSTER_POLICIES}/signed?fieldManager=upwell"
    content_type = {"Content-Type": "application/apply-patch+yaml"}
    answer = await granted.send("one", "PATCH", place, document, **content_type)
    assert answer.status == 403
    assert "needs role admin in all namespaces" in answer.json["message"]


async def test_a_short_name_is_said_to_be_docker_hubs_and_whose_it_may_be_meant_to_be(
    granted: GrantedApi,
) -> None:
    stream = {"metadata": {"name": "app"}}
    assert (await granted.create("admin", "imagestreams", "a", stream)).status == 201
    own = "image-registry.openshift-image-registry.svc:5000/a/app:1"
    answer = await granted.send("admin", "POST", REVIEWS, review("app:1"))
    message = answer.json["message"]
    assert "app:1 names no registry: it is docker.io/library/app" in message
    assert f"the image of the ImageStream is {own}" in message
    other = await granted.send("admin", "POST", REVIEWS, review("base:1"))
    assert "ImageStream" not in other.json["message"]
