"""Requests that are answered and not stored tell all that is wrong with them in one answer."""

from typing import Any

import pytest
from tests.support.server.api_server import Api, deployment

IMAGES = "/apis/image.openshift.io/v1/namespaces/shop"
BUILD_CONFIG = {
    "apiVersion": "build.openshift.io/v1",
    "kind": "BuildConfig",
    "metadata": {"name": "app"},
    "spec": {"source": {"dockerfile": "FROM base\n"}, "strategy": {"dockerStrategy": {}}},
}
CONFIGS = "/apis/build.openshift.io/v1/namespaces/shop/buildconfigs"
REVIEWS = "/apis/authorization.k8s.io/v1/subjectaccessreviews"


def fields(answer: Any) -> set[str]:
    """Return the paths of the faults of an answer."""
    assert (answer.status, answer.json["reason"]) == (422, "Invalid"), answer.text
    return {cause["field"] for cause in answer.json["details"]["causes"]}


@pytest.mark.parametrize(
    ("path", "body", "wrong"),
    [
        (
            f"{IMAGES}/imagestreamimports",
            {
                "metadata": {"name": "app"},
                "spec": {
                    "import": "yes",
                    "images": [
                        {"from": {"kind": "DockerImage", "name": "!! /x"}},
                        {"from": {"kind": "ImageStreamTag", "name": 7}},
                    ],
                },
            },
            {
                "spec.import",
                "spec.images[0].from.name",
                "spec.images[1].from.kind",
                "spec.images[1].from.name",
            },
        ),
        (
            f"{IMAGES}/imagestreammappings",
            {"metadata": {"name": ["app"]}, "tag": "a b", "image": {"metadata": {"name": "x"}}},
            {"metadata.name", "tag", "image.metadata.name"},
        ),
        (
            f"{CONFIGS}/app/instantiate",
            {"env": [{"name": "a=b"}, {"value": "x"}], "lastVersion": "1", "binary": {}},
            {"env[0].name", "env[1].name", "lastVersion", "binary"},
        ),
        (
            f"{CONFIGS}/app/instantiate",
            {
                "revision": 5,
                "dockerStrategyOptions": {"noCache": 1, "buildArgs": [{"name": "a=b"}]},
            },
            {
                "revision",
                "dockerStrategyOptions.noCache",
                "dockerStrategyOptions.buildArgs[0].name",
            },
        ),
        (
            "/apis/project.openshift.io/v1/projects",
            {"metadata": {"name": "No Name", "labels": {"a b": "c"}}, "spec": {"finalizers": 7}},
            {"metadata.name", "metadata.labels", "spec.finalizers"},
        ),
        (
            "/apis/project.openshift.io/v1/projectrequests",
            {"metadata": {"name": "No Name"}, "displayName": 7, "description": []},
            {"metadata.name", "displayName", "description"},
        ),
        (REVIEWS, {"spec": {"groups": "all"}}, {"spec.groups", "spec.user"}),
    ],
)
async def test_one_answer_has_every_fault(
    api: Api, path: str, body: dict[str, Any], wrong: set[str]
) -> None:
    assert (await api.send("POST", CONFIGS, BUILD_CONFIG)).status == 201
    assert fields(await api.send("POST", path, body)) == wrong


@pytest.mark.parametrize(
    ("body", "wrong"),
    [
        ({"spec": {"revision": -1, "from": "web-1"}}, {"spec.revision", "spec.from"}),
        ({"spec": {"revision": 1.5, "from": {"name": 7}}}, {"spec.revision", "spec.from.name"}),
        ({"spec": "web-1", "toRevision": "1"}, {"spec", "toRevision"}),
        ({"toRevision": -1}, {"toRevision"}),
    ],
)
async def test_a_rollback_of_wrong_types_is_told_whole(
    api: Api, body: dict[str, Any], wrong: set[str]
) -> None:
    deployments = "/apis/apps/v1/namespaces/shop/deployments"
    assert (await api.send("POST", deployments, deployment("web"))).status == 201
    assert fields(await api.send("POST", f"{deployments}/web/rollback", body)) == wrong
