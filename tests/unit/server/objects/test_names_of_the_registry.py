"""Rights to images of the embedded registry, under whichever of its names an object has them."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.server.granted_api import REGISTRY, GrantedApi, open_granted_api

from upwell.api.codec import decode
from upwell.oci.registry_names import OPENSHIFT_NAME, OwnRegistry, serve_as
from upwell.policy.access.authority import needs_in_use
from upwell.policy.pruning.image_uses import uses_of

NAMES = ["localhost:7080", "REGISTRY.test:07080", "[::1]:7080", "127.1.2.3:7080", OPENSHIFT_NAME]


@pytest.fixture(autouse=True)
def own_registry() -> Iterator[None]:
    before = serve_as(OwnRegistry.of(REGISTRY, [OPENSHIFT_NAME], 7080))
    yield
    serve_as(before)


@pytest.fixture
async def granted(tmp_path: Path) -> AsyncIterator[GrantedApi]:
    async with open_granted_api(tmp_path) as api:
        yield api


def deployment(image: str) -> dict[str, Any]:
    labels = {"app": "web"}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "a"},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "web", "image": image}]},
            },
        },
    }


def documents(name: str) -> dict[str, dict[str, Any]]:
    """Return objects of namespace a that take an image from b, or send one there."""
    image = f"{name}/b/app:1"
    docker = {"kind": "DockerImage", "name": image}
    source = {"dockerfile": f"FROM {image}\n"}
    built = {"strategy": {"type": "Docker", "dockerStrategy": {}}}
    return {
        "deployments": deployment(image),
        "imagestreams": {
            "metadata": {"name": "web"},
            "spec": {"tags": [{"name": "1", "from": docker}]},
        },
        "buildconfigs": {"metadata": {"name": "from"}, "spec": {"source": source, **built}},
        "builds": {
            "metadata": {"name": "to"},
            "spec": {
                "source": {"dockerfile": "FROM scratch\n"},
                "output": {"to": docker},
                **built,
            },
        },
        "pipelines": {
            "metadata": {"name": "app"},
            "spec": {
                "components": [
                    {"name": "web", "from": {"kind": "ImageStreamTag", "name": "web:1"}}
                ],
                "stages": [
                    {
                        "name": "dev",
                        "workloads": [{"kind": "Deployment", "name": "web"}],
                        "mirror": f"{name}/b",
                    }
                ],
            },
        },
    }


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("plural", documents(""))
async def test_another_name_of_the_registry_takes_the_same_right(
    granted: GrantedApi, name: str, plural: str
) -> None:
    roles = ("deployer@a", "builder@a", "pipeline-editor@a", "promoter@a")
    await granted.grant("one", *roles)
    answer = await granted.create("one", plural, "a", documents(name)[plural])
    assert answer.status == 403, answer
    assert "repositories in namespace b" in answer.json["message"]

    await granted.grant("one", *roles, "builder@b", "viewer@b")
    answer = await granted.create("one", plural, "a", documents(name)[plural])
    assert answer.status == 201, answer


def test_an_image_under_another_name_is_asked_for_when_it_is_used() -> None:
    def wanted(image: str) -> set[str]:
        resource = decode(deployment(image))
        return {str(one.action) for one in needs_in_use(resource, REGISTRY)}

    assert wanted(f"{NAMES[0]}/b/app:1") == {"pull repositories in namespace b"}
    assert not wanted(f"{NAMES[0]}/a/app:1")
    assert not wanted(f"{REGISTRY}/b/app:1"), "what triggers and promotions may have written"


def test_an_image_under_another_name_is_in_use() -> None:
    resource = decode(deployment(f"{NAMES[0]}/b/app:1"))
    assert [str(use.image) for use in uses_of([resource], REGISTRY)] == [f"{REGISTRY}/b/app:1"]
