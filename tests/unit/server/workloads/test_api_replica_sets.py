"""ReplicaSets: the revisions of Deployments, as kubectl looks for them."""

import json
from collections.abc import AsyncIterator

import pytest
from tests.support.server.api_server import START, Api, deployment, next_event, serving

from upwell.api.apps import TRIGGERS_ANNOTATION, Deployment, RevisionRecord
from upwell.api.pod_template import PodTemplate
from upwell.policy.rollouts.pod_template import template_hash
from upwell.policy.rollouts.settings import template_of, with_pod_template
from upwell.policy.rollouts.triggers import HOLD_ANNOTATION
from upwell.server.http.limits import ServerLimits

DEPLOYMENTS = "/apis/apps/v1/namespaces/shop/deployments"
SETS = "/apis/apps/v1/namespaces/shop/replicasets"
REVISION, CAUSE = "deployment.kubernetes.io/revision", "kubernetes.io/change-cause"
MERGE = "application/merge-patch+json"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    async with serving(ServerLimits()) as running:
        wanted = deployment("web")
        wanted["metadata"]["annotations"] = {"team": "shop", HOLD_ANNOTATION: "by Ada"}
        await running.send("POST", DEPLOYMENTS, wanted)
        await note(running, 2, 1)
        yield running


async def note(api: Api, *revisions: int) -> None:
    """Let the Deployment remember the revisions, the first being what its template says."""
    stored = await api.store.get(Deployment, "shop", "web")
    declared = template_of(stored)
    records = []
    for at, number in enumerate(revisions):
        labels = {**declared.metadata.labels, "revision": str(number)}
        meta = declared.metadata.model_copy(update={"labels": labels})
        template = declared.model_copy(update={"metadata": meta}) if at else declared
        records.append(
            RevisionRecord(
                revision=number,
                hash=template_hash(template),
                template=template,
                created=START,
                cause="image change",
            )
        )
    changes = {"revisions": tuple(records), "updated_replicas": 2, "ready_replicas": 3}
    status = stored.status.model_copy(update=changes)
    await api.store.update_status(stored.with_status(status))


async def test_each_revision_is_one_and_belongs_to_its_deployment(api: Api) -> None:
    owner = (await api.get(f"{DEPLOYMENTS}/web")).json
    items = (await api.get(SETS)).json["items"]
    by_revision = {item["metadata"]["annotations"][REVISION]: item for item in items}
    assert by_revision.keys() == {"1", "2"}
    for item in items:
        (reference,) = item["metadata"]["ownerReferences"]
        assert (reference["uid"], reference["controller"]) == (owner["metadata"]["uid"], True)
        assert item["metadata"]["labels"] == item["spec"]["template"]["metadata"]["labels"]
        assert item["spec"]["selector"] == owner["spec"]["selector"]
        assert item["metadata"]["annotations"][CAUSE] == "image change"
        assert is_same(item, (await api.get(f"{SETS}/{item['metadata']['name']}")).json)
    assert by_revision["2"]["spec"]["template"] == owner["spec"]["template"]
    assert by_revision["2"]["spec"]["replicas"] == owner["spec"]["replicas"]
    assert by_revision["2"]["status"]["readyReplicas"] == 2
    assert by_revision["1"]["spec"].get("replicas", 0) == 0


def is_same(listed: dict[str, object], got: dict[str, object]) -> bool:
    return {**listed, "apiVersion": "apps/v1", "kind": "ReplicaSet"} == got


async def test_who_writes_an_earlier_one_back_holds_the_deployment(api: Api) -> None:
    items = (await api.get(SETS)).json["items"]
    notes = {item["metadata"]["annotations"][REVISION]: item["metadata"] for item in items}
    earlier, wanted = notes["1"]["annotations"], notes["2"]["annotations"]
    assert earlier[HOLD_ANNOTATION] == "rolled back to revision 1 by hand"
    assert wanted[HOLD_ANNOTATION] == "by Ada"
    assert earlier["team"] == wanted["team"] == "shop"


async def test_an_earlier_one_that_is_written_back_brings_the_image_that_a_trigger_has_replaced(
    api: Api,
) -> None:
    triggers = [
        {
            "from": {"kind": "ImageStreamTag", "name": "app:latest"},
            "fieldPath": 'spec.template.spec.containers[?(@.name=="web")].image',
        }
    ]
    follows = {"metadata": {"annotations": {TRIGGERS_ANNOTATION: json.dumps(triggers)}}}
    assert (await api.send("PATCH", f"{DEPLOYMENTS}/web", follows, MERGE)).status == 200
    stored = await api.store.get(Deployment, "shop", "web")
    records = [with_image(template_of(stored), 1), with_image(template_of(stored), 2)]
    current = await api.store.update(with_pod_template(stored, records[1]))
    known = tuple(
        RevisionRecord(revision=at, hash=template_hash(one), template=one, created=START)
        for at, one in reversed(list(enumerate(records, 1)))
    )
    status = current.status.model_copy(update={"revisions": known})
    await api.store.update_status(current.with_status(status))
    items = (await api.get(SETS)).json["items"]
    (earlier,) = [one for one in items if one["metadata"]["annotations"][REVISION] == "1"]
    patch = [
        {"op": "replace", "path": "/spec/template", "value": earlier["spec"]["template"]},
        {
            "op": "replace",
            "path": "/metadata/annotations",
            "value": earlier["metadata"]["annotations"],
        },
    ]
    answer = await api.send("PATCH", f"{DEPLOYMENTS}/web", patch, "application/json-patch+json")
    assert (answer.status, answer.warnings) == (200, ()), answer.text
    (container,) = template_of(await api.store.get(Deployment, "shop", "web")).spec.containers
    assert container.image == pinned(1)


def pinned(number: int) -> str:
    return f"registry.test/shop/app@sha256:{number:064}"


def with_image(template: PodTemplate, number: int) -> PodTemplate:
    (container,) = template.spec.containers
    changed = container.model_copy(update={"image": pinned(number)})
    pod = template.spec.model_copy(update={"containers": (changed,)})
    return template.model_copy(update={"spec": pod})


async def test_they_are_selected_by_label_name_and_namespace(api: Api) -> None:
    (earlier,) = (await api.get(f"{SETS}?labelSelector=revision%3D1")).json["items"]
    name = earlier["metadata"]["name"]
    named = (await api.get(f"{SETS}?fieldSelector=metadata.name%3D{name}")).json["items"]
    assert [item["metadata"]["name"] for item in named] == [name]
    assert (await api.get("/apis/apps/v1/namespaces/bank/replicasets")).json["items"] == []
    assert len((await api.get("/apis/apps/v1/replicasets")).json["items"]) == 2
    missing = await api.get(f"{SETS}/none")
    assert (missing.status, missing.json["reason"]) == (404, "NotFound")
    table = (await api.get(SETS, Accept=TABLE)).json
    assert [column["name"] for column in table["columnDefinitions"]][:4] == [
        *("Name", "Desired", "Current", "Ready")
    ]


async def test_a_watch_sees_revisions_come_and_go(api: Api) -> None:
    version = (await api.get(SETS)).json["metadata"]["resourceVersion"]
    async with api.stream(f"{SETS}?watch=true&resourceVersion={version}") as stream:
        await note(api, 2, 3)
        seen = [await next_event(stream) for _ in range(2)]
        await api.send("DELETE", f"{DEPLOYMENTS}/web")
        seen += [await next_event(stream) for _ in range(2)]
    told = [(event["type"], revision_of(event)) for event in seen]
    assert told == [("DELETED", "1"), ("ADDED", "3"), ("DELETED", "2"), ("DELETED", "3")]


async def test_a_watch_that_is_resumed_tells_what_came_meanwhile(api: Api) -> None:
    version = (await api.get(SETS)).json["metadata"]["resourceVersion"]
    await note(api, 2, 1, 3)
    async with api.stream(f"{SETS}?watch=true&resourceVersion={version}") as stream:
        seen = [await next_event(stream) for _ in range(3)]
        await note(api, 2, 3)
        seen.append(await next_event(stream))
    assert sorted(revision_of(event) for event in seen[:3]) == ["1", "2", "3"]
    assert {event["type"] for event in seen[:3]} == {"MODIFIED"}
    assert (seen[3]["type"], revision_of(seen[3])) == ("DELETED", "1")


async def test_a_watch_that_is_resumed_tells_what_went_meanwhile(api: Api) -> None:
    version = (await api.get(SETS)).json["metadata"]["resourceVersion"]
    await api.send("DELETE", f"{DEPLOYMENTS}/web")
    async with api.stream(f"{SETS}?watch=true&resourceVersion={version}") as stream:
        seen = [await next_event(stream) for _ in range(2)]
    assert {event["type"] for event in seen} == {"DELETED"}
    assert {revision_of(event) for event in seen} == {"1", "2"}


def revision_of(event: dict[str, dict[str, dict[str, dict[str, str]]]]) -> str:
    return event["object"]["metadata"]["annotations"][REVISION]


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
async def test_they_are_read_only(api: Api, method: str) -> None:
    path = SETS if method == "POST" else f"{SETS}/web"
    refused = await api.send(method, path, json.dumps({}).encode())
    assert refused.status == 405
