"""Approvals of a Pipeline are lowered by those alone who may override them."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.server.granted_api import GrantedApi, open_granted_api, path_of

MERGE = "application/merge-patch+json"


@pytest.fixture
async def granted(tmp_path: Path) -> AsyncIterator[GrantedApi]:
    async with open_granted_api(tmp_path) as api:
        yield api


def stage(name: str, workload: str, **fields: Any) -> dict[str, Any]:
    return {"name": name, "workloads": [{"kind": "Deployment", "name": workload}], **fields}


def gate(**fields: Any) -> dict[str, Any]:
    return {"approval": {"required": 2, "approvers": ["ann", "ben"], **fields}}


DEV = stage("dev", "dev")
PROD = stage("prod", "web", **gate())
SELECTED = {
    "name": "dev",
    "workloads": [{"kind": "Deployment", "selector": {"matchLabels": {"app": "web"}}}],
}
DUMMY = stage("zz", "none")


def document(*stages: dict[str, Any]) -> dict[str, Any]:
    source = {"kind": "ImageStreamTag", "name": "web:1"}
    components = [{"name": "web", "from": source}]
    return {
        "metadata": {"name": "app"},
        "spec": {"components": components, "stages": list(stages)},
    }


@pytest.mark.parametrize(
    "stages",
    [
        (DEV, PROD, DUMMY),
        (DEV, PROD, stage("zz", "none", after=["prod"])),
        (DEV, stage("prod", "web")),
        (DEV,),
        (DEV, stage("production", "web", **gate())),
        (DEV, stage("prod", "web", **gate(required=1))),
        (DEV, stage("prod", "web", **gate(fourEyes=False))),
        (DEV, stage("prod", "web", **gate(approvers=[]))),
        (DEV, stage("prod", "web", **gate(approvers=["ann", "eve"]))),
        (DEV, stage("prod", "none", **gate())),
        (stage("dev", "web"), PROD),
        (SELECTED, PROD),
        (DEV, stage("prod", "web", namespace="b", **gate())),
    ],
)
async def test_to_lower_an_approval_takes_the_right_to_override(
    granted: GrantedApi, stages: tuple[dict[str, Any], ...]
) -> None:
    assert (await granted.create("admin", "pipelines", "a", document(DEV, PROD))).status == 201
    await granted.grant("eve", "promoter@a", "deployer@b")
    path, change = path_of("pipelines", "a", "app"), {"spec": document(*stages)["spec"]}
    answer = await granted.send("eve", "PATCH", path, change, content_type=MERGE)
    assert answer.status == 403, answer.text
    assert "create pipelines/override in namespace a needs role overrider" in answer.json["message"]
    await granted.grant("eve", "promoter@a", "overrider@a", "deployer@b")
    answer = await granted.send("eve", "PATCH", path, change, content_type=MERGE)
    assert answer.status == 200, answer.text


@pytest.mark.parametrize(
    "stages",
    [
        (DEV, stage("test", "test"), PROD),
        (DEV, stage("prod", "web", soakSeconds=60, **gate(fourEyes=True))),
        (stage("dev", "dev", **gate()), PROD),
        (PROD,),
    ],
)
async def test_other_changes_are_the_promoters(
    granted: GrantedApi, stages: tuple[dict[str, Any], ...]
) -> None:
    assert (await granted.create("admin", "pipelines", "a", document(DEV, PROD))).status == 201
    await granted.grant("eve", "promoter@a")
    path, change = path_of("pipelines", "a", "app"), {"spec": document(*stages)["spec"]}
    answer = await granted.send("eve", "PATCH", path, change, content_type=MERGE)
    assert answer.status == 200, answer.text
    assert answer.json["metadata"]["annotations"]["upwell.dev/author"] == "eve"


async def test_a_pipeline_with_approvals_is_not_made_anew_without_them(
    granted: GrantedApi,
) -> None:
    assert (await granted.create("admin", "pipelines", "a", document(DEV, PROD))).status == 201
    await granted.grant("eve", "promoter@a")
    answer = await granted.send("eve", "DELETE", path_of("pipelines", "a", "app"))
    assert answer.status == 403, answer.text
    answer = await granted.send("eve", "DELETE", path_of("pipelines", "a"))
    assert answer.status == 403, answer.text
    owner = {"apiVersion": "v1", "kind": "ConfigMap", "name": "mine", "uid": "mine-1"}
    owned = {"metadata": {"ownerReferences": [owner]}}
    path = path_of("pipelines", "a", "app")
    answer = await granted.send("eve", "PATCH", path, owned, content_type=MERGE)
    assert answer.status == 403, answer.text
    assert "gets an owner, whose deletion removes it" in answer.json["message"]
    await granted.grant("eve", "promoter@a", "overrider@a")
    assert (await granted.send("eve", "DELETE", path_of("pipelines", "a", "app"))).status == 200


async def test_no_approval_is_asked_for_on_what_goes_with_its_owner(granted: GrantedApi) -> None:
    """The owner may be anybody's who had it made before."""
    owner = {"apiVersion": "v1", "kind": "ConfigMap", "name": "mine", "uid": "mine-1"}
    open_stage = {name: value for name, value in PROD.items() if name != "approval"}
    owned = document(DEV, open_stage)
    owned["metadata"]["ownerReferences"] = [owner]
    assert (await granted.create("admin", "pipelines", "a", owned)).status == 201
    guarded = {"spec": {"stages": [DEV, PROD]}}
    path = path_of("pipelines", "a", "app")
    answer = await granted.send("admin", "PATCH", path, guarded, content_type=MERGE)
    assert answer.status == 403, answer.text
    assert "take metadata.ownerReferences away" in answer.json["message"]
    freed = guarded | {"metadata": {"ownerReferences": None}}
    answer = await granted.send("admin", "PATCH", path, freed, content_type=MERGE)
    assert answer.status == 200, answer.text
