"""A rollback takes of its client what editing the template takes."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.server.api_server import ApiAnswer
from tests.support.server.foreign_documents import workload
from tests.support.server.granted_api import GrantedApi, open_granted_api, path_of

from upwell.api.apps import Deployment, RevisionRecord
from upwell.policy.rollouts.history import Phase
from upwell.policy.rollouts.pod_template import template_hash

AUTHOR = "upwell.dev/author"
MERGE = "application/merge-patch+json"
OF_THE_HOST = {"volumes": [{"name": "etc", "hostPath": {"path": "/etc"}}]}


@pytest.fixture
async def granted(tmp_path: Path) -> AsyncIterator[GrantedApi]:
    async with open_granted_api(tmp_path) as api:
        await api.grant("dan", "deployer@a")
        yield api


def web(image: str, **pod: Any) -> dict[str, Any]:
    document = {"metadata": {"name": "web"}, **workload(image)}
    document["spec"]["template"]["spec"] |= pod
    return document


async def with_two_revisions(granted: GrantedApi, **first: Any) -> None:
    """Store a Deployment of the administrator's that has served two templates."""
    path = path_of("deployments", "a", "web")
    written: list[Deployment] = []
    for document in (web("docker.io/web:1", **first), web("docker.io/web:2")):
        if written:
            answer = await granted.send("admin", "PUT", path, document)
        else:
            answer = await granted.create("admin", "deployments", "a", document)
        assert answer.status in {200, 201}, answer.text
        written.append(await stored(granted))
    records = tuple(
        RevisionRecord(
            revision=number,
            hash=template_hash(one.spec.template),
            template=one.spec.template,
            created=granted.api.clock(),
            phase=Phase.COMPLETE.value,
        )
        for number, one in reversed(list(enumerate(written, 1)))
    )
    status = written[-1].status.model_copy(update={"revisions": records})
    await granted.api.store.update_status(written[-1].with_status(status))


async def stored(granted: GrantedApi) -> Deployment:
    return await granted.api.store.get(Deployment, "a", "web")


async def roll_back(granted: GrantedApi, who: str) -> ApiAnswer:
    path = path_of("deployments", "a", "web", "rollback")
    return await granted.send(who, "POST", path, {"toRevision": 1})


async def test_a_template_that_takes_a_right_is_brought_back_by_who_has_it(
    granted: GrantedApi,
) -> None:
    await with_two_revisions(granted, **OF_THE_HOST)
    before = await stored(granted)
    refused = await roll_back(granted, "dan")
    assert refused.status == 403, refused.text
    assert "token dan may not write Deployment a/web" in refused.json["message"]
    assert "use hostpaths in namespace a needs role admin there" in refused.json["message"]
    assert await stored(granted) == before
    assert (await roll_back(granted, "admin")).status == 200
    assert (await stored(granted)).spec.template.spec.volumes


async def test_who_rolls_back_is_the_author_of_what_runs_then(granted: GrantedApi) -> None:
    await with_two_revisions(granted)
    assert (await stored(granted)).annotations[AUTHOR] == "system:admin"
    answer = await roll_back(granted, "dan")
    assert answer.status == 200, answer.text
    found = await stored(granted)
    assert found.annotations[AUTHOR] == "dan"
    assert found.spec.template.spec.containers[0].image == "docker.io/web:1"


async def test_a_profile_of_the_namespace_is_asked_too(granted: GrantedApi) -> None:
    await with_two_revisions(granted, **OF_THE_HOST)
    labels = {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "baseline"}}}
    path = "/api/v1/namespaces/a"
    assert (await granted.send("admin", "PATCH", path, labels, content_type=MERGE)).status == 200
    answer = await roll_back(granted, "admin")
    assert answer.status == 403, answer.text
    assert "Deployment a/web is forbidden" in answer.json["message"]
    assert not (await stored(granted)).spec.template.spec.volumes
