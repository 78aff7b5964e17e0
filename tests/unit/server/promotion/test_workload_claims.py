"""A Pipeline names no workload that another one has."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.server.granted_api import GrantedApi, open_granted_api, path_of

MERGE = "application/merge-patch+json"
APPROVAL = {"approval": {"required": 1}}


@pytest.fixture
async def granted(tmp_path: Path) -> AsyncIterator[GrantedApi]:
    async with open_granted_api(tmp_path) as api:
        for name, labels in (("web", {"app": "web", "tier": "front"}), ("api", {"app": "api"})):
            container = {"name": "c", "image": "x.test/web:1"}
            template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
            document = {
                "metadata": {"name": name, "labels": labels},
                "spec": {"selector": {"matchLabels": labels}, "template": template},
            }
            answer = await api.create("admin", "deployments", "a", document)
            assert answer.status == 201, answer.text
        await api.grant("eve", "promoter@a", "deployer@a")
        yield api


def pipeline(name: str, *entries: dict[str, Any], **stage: Any) -> dict[str, Any]:
    source = {"kind": "ImageStreamTag", "name": "web:1"}
    components = [{"name": one, "from": source} for one in ("web", "side")]
    stages = [{"name": "prod", "workloads": list(entries), **stage}]
    return {"metadata": {"name": name}, "spec": {"components": components, "stages": stages}}


def named(name: str = "web", **fields: Any) -> dict[str, Any]:
    return {"kind": "Deployment", "name": name, **fields}


def labelled(**labels: str) -> dict[str, Any]:
    return {"kind": "Deployment", "selector": {"matchLabels": labels}}


@pytest.mark.parametrize("approval", [{}, APPROVAL])
@pytest.mark.parametrize(
    ("held", "wanted"),
    [
        (named(), named()),
        (named(), labelled(app="web")),
        (labelled(app="web"), named()),
        (labelled(tier="front"), labelled(app="web")),
        (named(images={"c": "web"}), named(images={"c": "web"})),
    ],
)
async def test_a_workload_belongs_to_the_pipeline_that_named_it_first(
    granted: GrantedApi, held: dict[str, Any], wanted: dict[str, Any], approval: dict[str, Any]
) -> None:
    first = await granted.create("admin", "pipelines", "a", pipeline("first", held, **approval))
    assert first.status == 201, first.text
    refused = await granted.create("eve", "pipelines", "a", pipeline("second", wanted))
    assert refused.status == 422, refused.text
    assert "spec.stages[0].workloads[0]" in refused.json["message"]
    assert "belongs to stage prod of Pipeline a/first" in refused.json["message"]

    second = await granted.create("eve", "pipelines", "a", pipeline("second", named("api")))
    assert second.status == 201, second.text
    path = path_of("pipelines", "a", "second")
    stages = pipeline("second", named("api"), wanted)["spec"]["stages"]
    patch = {"spec": {"stages": stages}}
    refused = await granted.send("eve", "PATCH", path, patch, content_type=MERGE)
    assert refused.status == 422, refused.text
    assert "spec.stages[0].workloads[1]" in refused.json["message"]


async def test_a_stage_of_another_namespace_has_its_workloads_too(granted: GrantedApi) -> None:
    first = pipeline("first", named(), namespace="a", **APPROVAL)
    assert (await granted.create("admin", "pipelines", "b", first)).status == 201
    refused = await granted.create("eve", "pipelines", "a", pipeline("second", named()))
    assert refused.status == 422
    assert "Pipeline b/first" in refused.json["message"]


@pytest.mark.parametrize(
    ("held", "wanted"),
    [
        (pipeline("first", named()), pipeline("second", named("api"))),
        (pipeline("first", labelled(app="web")), pipeline("second", labelled(app="api"))),
        (pipeline("first", named(), namespace="b"), pipeline("second", named())),
        (
            pipeline("first", named(images={"c": "web"})),
            pipeline("second", named(images={"d": "side"})),
        ),
        (
            pipeline("first", named()),
            pipeline("second", named(), git={"repository": "https://git.test/x"}),
        ),
    ],
)
async def test_what_does_not_meet_is_nobodys_matter(
    granted: GrantedApi, held: dict[str, Any], wanted: dict[str, Any]
) -> None:
    answer = await granted.create("admin", "pipelines", "a", held)
    assert answer.status == 201, answer.text
    answer = await granted.create("admin", "pipelines", "a", wanted)
    assert answer.status == 201, answer.text


async def test_other_containers_of_what_takes_approval_are_its_own_too(
    granted: GrantedApi,
) -> None:
    first = pipeline("first", named(images={"c": "web"}), **APPROVAL)
    assert (await granted.create("admin", "pipelines", "a", first)).status == 201
    other = pipeline("second", named(images={"d": "side"}))
    assert (await granted.create("eve", "pipelines", "a", other)).status == 422
