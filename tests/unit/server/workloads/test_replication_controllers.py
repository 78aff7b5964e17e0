"""ReplicationControllers: revisions of DeploymentConfigs, by the requests that `oc` sends."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.support.server.api_server import START, Api, next_event, serving

from upwell.api.apps import DeploymentConfig, RevisionRecord
from upwell.api.conditions import find
from upwell.api.pod_template import PodTemplate
from upwell.policy.rollouts.history import Phase, known_before, wanted_revision
from upwell.policy.rollouts.pod_template import template_hash
from upwell.policy.rollouts.settings import template_of, with_pod_template
from upwell.policy.rollouts.triggers import HOLD_ANNOTATION
from upwell.server.http.limits import ServerLimits
from upwell.workload.instance_spec import Owner
from upwell.workload.interface import Instance, State

type Document = dict[str, Any]

CONFIGS = "/apis/apps.openshift.io/v1/namespaces/shop/deploymentconfigs"
CONTROLLERS = "/api/v1/namespaces/shop/replicationcontrollers"
OF_CONFIG = "openshift.io%2Fdeployment-config.name%3Dgate"
VERSION = "openshift.io/deployment-config.latest-version"
PHASE = "openshift.io/deployment.phase"
REASON = "openshift.io/deployment.status-reason"
STRATEGIC = "application/strategic-merge-patch+json"
CANCEL = {
    "metadata": {
        "annotations": {
            "openshift.io/deployment.cancelled": "true",
            REASON: "cancelled by the user",
        }
    }
}
"""The patch of `oc rollout cancel dc/gate`."""
RETRY = {"metadata": {"annotations": {PHASE: "New", REASON: None}}}
"""The patch of `oc rollout retry dc/gate`."""


def config() -> Document:
    return {
        "apiVersion": "apps.openshift.io/v1",
        "kind": "DeploymentConfig",
        "metadata": {"name": "gate", "labels": {"team": "shop"}},
        "spec": {
            "replicas": 2,
            "selector": {"app": "gate"},
            "template": {
                "metadata": {"labels": {"app": "gate"}},
                "spec": {"containers": [{"name": "web", "image": "app:4"}]},
            },
        },
    }


def request(revision: int) -> Document:
    """The request of `oc rollout undo dc/gate --to-revision`, dry or not."""
    return {
        "kind": "DeploymentConfigRollback",
        "apiVersion": "apps.openshift.io/v1",
        "name": "gate",
        "spec": {"from": {}, "revision": revision, "includeTemplate": True},
    }


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    async with serving(ServerLimits()) as running:
        await running.send("POST", CONFIGS, config())
        await remember(running, Phase.COMPLETE)
        yield running


async def remember(api: Api, newest: Phase) -> None:
    """Let the DeploymentConfig remember four revisions, the last as its template says."""
    stored = await api.store.get(DeploymentConfig, "shop", "gate")
    declared = template_of(stored)
    records = []
    for number in (4, 3, 2, 1):
        (container,) = declared.spec.containers
        image = container.model_copy(update={"image": f"app:{number}"})
        pod = declared.spec.model_copy(update={"containers": (image,)})
        template = declared.model_copy(update={"spec": pod})
        records.append(
            RevisionRecord(
                revision=number,
                hash=template_hash(template),
                template=template,
                created=START,
                phase=(newest if number == 4 else Phase.COMPLETE).value,
                message="it crashed\nagain" if newest is Phase.FAILED and number == 4 else "",
                cause="config change",
            )
        )
    changes = {"revisions": tuple(records), "updated_replicas": 2, "latest_version": 4}
    await api.store.update_status(stored.with_status(stored.status.model_copy(update=changes)))


async def stored(api: Api) -> DeploymentConfig:
    return await api.store.get(DeploymentConfig, "shop", "gate")


def shown(name: str, revision: str) -> Instance:
    return Instance(
        name=name,
        owner=Owner("DeploymentConfig", "shop", "gate"),
        revision=revision,
        state=State.RUNNING,
        ready=True,
        ready_since=START,
        started_at=START,
        address="10.0.0.7",
        images={},
        labels={"app": "gate"},
    )


def image_of(document: Document) -> str:
    return str(document["spec"]["template"]["spec"]["containers"][0]["image"])


async def test_a_watch_that_is_resumed_tells_what_does_not_match_any_more(api: Api) -> None:
    path = f"{CONTROLLERS}?labelSelector=team%3Dshop"
    version = (await api.get(path)).json["metadata"]["resourceVersion"]
    moved = {"metadata": {"labels": {"team": "bank"}}}
    assert (await api.send("PATCH", f"{CONFIGS}/gate", moved, STRATEGIC)).status == 200
    async with api.stream(f"{path}&watch=1&resourceVersion={version}") as stream:
        seen = [await next_event(stream) for _ in range(4)]
    assert {event["type"] for event in seen} == {"DELETED"}


async def test_the_history_of_a_config_is_read_from_them(api: Api) -> None:
    answer = await api.get(f"{CONTROLLERS}?labelSelector={OF_CONFIG}")
    items = {item["metadata"]["name"]: item for item in answer.json["items"]}
    assert list(items) == ["gate-1", "gate-2", "gate-3", "gate-4"]
    owner = (await api.get(f"{CONFIGS}/gate")).json["metadata"]
    for number in range(1, 5):
        one = items[f"gate-{number}"]
        annotations = one["metadata"]["annotations"]
        assert annotations[VERSION] == str(number)
        assert (annotations[PHASE], annotations[REASON]) == ("Complete", "config change")
        assert one["metadata"]["ownerReferences"][0]["uid"] == owner["uid"]
        assert one["metadata"]["labels"]["team"] == "shop"
        own = {"app": "gate", "deploymentconfig": "gate", "deployment": f"gate-{number}"}
        assert one["spec"]["selector"] == one["spec"]["template"]["metadata"]["labels"] == own
        assert image_of(one) == f"app:{number}"
        assert one["spec"]["replicas"] == (2 if number == 4 else 0)


async def test_pods_are_found_by_their_revision(api: Api) -> None:
    newest, *_ = (await stored(api)).status.revisions
    api.runtime.shown = [shown("gate-x", newest.hash)]
    selector = (await api.get(f"{CONTROLLERS}/gate-4")).json["spec"]["selector"]
    wanted = ",".join(f"{key}={text}" for key, text in selector.items())
    found = (await api.get(f"/api/v1/namespaces/shop/pods?labelSelector={wanted}")).json["items"]
    assert [one["metadata"]["name"] for one in found] == ["gate-x"]
    annotations = found[0]["metadata"]["annotations"]
    assert annotations[VERSION] == "4"
    # `oc adm top images` names the user of an image by it.
    assert annotations["openshift.io/deployment.name"] == "gate-4"
    assert annotations["openshift.io/deployment-config.name"] == "gate"


async def test_a_log_is_that_of_the_revision_asked_for(api: Api) -> None:
    newest, _, second, _ = (await stored(api)).status.revisions
    for name, record in (("gate-new", newest), ("gate-old", second)):
        api.runtime.shown.append(shown(name, record.hash))
        api.runtime.log_texts[(name, "")] = f"log of {name}\n".encode()
    log = f"{CONFIGS}/gate/log"
    assert (await api.get(f"{log}?version=4")).text == "log of gate-new\n"
    assert (await api.get(f"{log}?version=2")).text == "log of gate-old\n"
    both = (await api.get(log)).text
    assert "log of gate-new" in both
    assert "log of gate-old" in both
    nothing_runs = await api.get(f"{log}?version=3")
    assert nothing_runs.status == 400
    assert "no instance of version 3" in nothing_runs.json["message"]
    for version in (0, 5):
        refused = await api.get(f"{log}?version={version}")
        told = f'invalid version for deploymentConfig "gate": {version}'
        assert (refused.status, refused.json["message"]) == (400, told)


async def test_a_log_of_a_forgotten_revision_is_not_found(api: Api) -> None:
    config = await stored(api)
    kept = {"revisions": config.status.revisions[:2]}
    await api.store.update_status(config.with_status(config.status.model_copy(update=kept)))
    forgotten = await api.get(f"{CONFIGS}/gate/log?version=2")
    assert (forgotten.status, forgotten.json["reason"]) == (404, "NotFound")


async def test_a_failed_one_says_why_on_one_line(api: Api) -> None:
    await remember(api, Phase.FAILED)
    found = (await api.get(f"{CONTROLLERS}/gate-4")).json["metadata"]["annotations"]
    assert (found[PHASE], found[REASON]) == ("Failed", "it crashed")


async def test_a_watch_tells_of_a_new_phase(api: Api) -> None:
    await remember(api, Phase.PROGRESSING)
    version = (await api.get(CONTROLLERS)).json["metadata"]["resourceVersion"]
    path = f"{CONTROLLERS}?watch=1&resourceVersion={version}"
    async with api.stream(path) as stream:
        await remember(api, Phase.COMPLETE)
        event = await next_event(stream)
    assert (event["type"], event["object"]["metadata"]["name"]) == ("MODIFIED", "gate-4")
    assert event["object"]["metadata"]["annotations"][PHASE] == "Complete"


@pytest.mark.parametrize("dry", ["", "?dryRun=All"])
async def test_the_rollout_under_way_is_cancelled(api: Api, dry: str) -> None:
    await remember(api, Phase.PROGRESSING)
    answer = await api.send("PATCH", f"{CONTROLLERS}/gate-4{dry}", CANCEL, STRATEGIC)
    assert answer.json["metadata"]["annotations"][PHASE] == "Failed"
    assert answer.json["metadata"]["annotations"]["openshift.io/deployment.cancelled"] == "true"
    status = (await stored(api)).status
    assert status.revisions[0].phase == ("Progressing" if dry else "Failed")
    progressing = find(status.conditions, "Progressing")
    reason = progressing and progressing.reason
    assert reason == (None if dry else "RolloutCancelled")


@pytest.mark.parametrize("dry", ["", "?dryRun=All"])
async def test_a_failed_rollout_is_tried_again_and_waited_for(api: Api, dry: str) -> None:
    await remember(api, Phase.FAILED)
    answer = await api.send("PATCH", f"{CONTROLLERS}/gate-4{dry}", RETRY, STRATEGIC)
    assert answer.json["metadata"]["annotations"][PHASE] == "Running"
    status = (await stored(api)).status
    assert status.revisions[0].phase == ("Failed" if dry else "Progressing")
    progressing = find(status.conditions, "Progressing")
    reason = progressing and progressing.reason
    assert reason == (None if dry else "ReplicationControllerUpdated")


async def test_what_is_over_is_not_cancelled(api: Api) -> None:
    await remember(api, Phase.PROGRESSING)
    answer = await api.send("PATCH", f"{CONTROLLERS}/gate-2", CANCEL, STRATEGIC)
    assert answer.status == 422
    assert "revision 2 is over: rollout #4 is progressing" in answer.json["message"]


async def test_they_are_otherwise_read_only_and_say_where_to_go(api: Api) -> None:
    scaled = {"spec": {"replicas": 5}}
    answer = await api.send("PATCH", f"{CONTROLLERS}/gate-4", scaled, STRATEGIC)
    assert (answer.status, answer.json["message"].endswith("DeploymentConfig gate")) == (422, True)
    for method, path in (("POST", CONTROLLERS), ("DELETE", f"{CONTROLLERS}/gate-1")):
        answer = await api.send(method, path, {"kind": "ReplicationController"})
        assert (answer.status, "Apply a DeploymentConfig" in answer.json["message"]) == (405, True)
    stale = {"metadata": {"resourceVersion": "1", **CANCEL["metadata"]}}
    await remember(api, Phase.PROGRESSING)
    assert (await api.send("PATCH", f"{CONTROLLERS}/gate-4", stale, STRATEGIC)).status == 409


@pytest.mark.parametrize("revision", [1, 2, 3])
async def test_a_rollback_is_only_shown_until_its_client_writes_it(api: Api, revision: int) -> None:
    before = await stored(api)
    answer = await api.send("POST", f"{CONFIGS}/gate/rollback", request(revision))
    assert answer.status == 201
    assert image_of(answer.json) == f"app:{revision}"
    assert await stored(api) == before

    written = await api.send("PUT", f"{CONFIGS}/gate", answer.json)
    assert written.status == 200, written.text
    after = await stored(api)
    assert template_of(after).spec.containers[0].image == f"app:{revision}"
    assert f"revision {revision}" in after.annotations[HOLD_ANNOTATION]
    known = known_before(after, wanted_revision(after))
    assert known is not None
    assert known.revision == revision
    assert wanted_revision(after) not in {one.hash for one in after.status.revisions}


FOLLOWING = {
    "spec": {
        "triggers": [
            {"type": "ConfigChange"},
            {
                "type": "ImageChange",
                "imageChangeParams": {
                    "automatic": True,
                    "containerNames": ["web"],
                    "from": {"kind": "ImageStreamTag", "name": "app:latest"},
                },
            },
        ]
    }
}


async def test_a_rollback_brings_the_image_back_that_a_trigger_has_replaced(api: Api) -> None:
    await follow(api)
    answer = await api.send("POST", f"{CONFIGS}/gate/rollback", request(2))
    before = image_of(answer.json)
    assert before == pinned(2)
    written = await api.send("PUT", f"{CONFIGS}/gate", answer.json)
    assert (written.status, image_of(written.json)) == (200, before)
    assert template_of(await stored(api)).spec.containers[0].image == before
    # Any other write leaves the image to its owner, a person's hold or not.
    for held in ("rolled back to revision 2 by hand", "rolled back to revision 9 by hand", "mine"):
        document = written.json
        document["metadata"]["annotations"][HOLD_ANNOTATION] = held
        document["spec"]["template"]["spec"]["containers"][0]["image"] = pinned(1)
        written = await api.send("PUT", f"{CONFIGS}/gate", document)
        assert (written.status, image_of(written.json)) == (200, before)


def pinned(number: int) -> str:
    return f"registry.test/shop/app@sha256:{number:064}"


async def follow(api: Api) -> None:
    """Let the container follow a tag, whose images its revisions have had."""
    changed = await api.send("PATCH", f"{CONFIGS}/gate", FOLLOWING, STRATEGIC)
    assert changed.status == 200, changed.text
    config = await stored(api)
    (container,) = template_of(config).spec.containers

    def template(number: int) -> PodTemplate:
        image = container.model_copy(update={"image": pinned(number)})
        pod = template_of(config).spec.model_copy(update={"containers": (image,)})
        return template_of(config).model_copy(update={"spec": pod})

    records = tuple(
        record.model_copy(update={"template": one, "hash": template_hash(one)})
        for record in config.status.revisions
        for one in (template(record.revision),)
    )
    current = await api.store.update(with_pod_template(config, template(4)))
    status = current.status.model_copy(update={"revisions": records})
    await api.store.update_status(current.with_status(status))


async def test_a_rollback_by_name_and_to_the_one_before(api: Api) -> None:
    named = request(0)
    named["spec"]["from"] = {"name": "gate-2"}
    assert image_of((await api.send("POST", f"{CONFIGS}/gate/rollback", named)).json) == "app:2"
    unnamed = await api.send("POST", f"{CONFIGS}/gate/rollback", request(0))
    assert image_of(unnamed.json) == "app:3"


@pytest.mark.parametrize(
    ("part", "body"),
    [
        ("rollback", {"toRevision": 1}),
        ("rollback", {}),
        ("rollout", {"verb": "latest"}),
        ("instantiate", {"kind": "DeploymentRequest", "name": "gate", "latest": True}),
    ],
)
async def test_a_dry_run_answers_as_if_and_changes_nothing(
    api: Api, part: str, body: Document
) -> None:
    before = await stored(api)
    answer = await api.send("POST", f"{CONFIGS}/gate/{part}?dryRun=All", body)
    assert answer.status in {200, 201}, answer.text
    assert json.loads(answer.text)["kind"] == "DeploymentConfig"
    assert await stored(api) == before


async def test_a_new_rollout_is_waited_for_from_the_start(api: Api) -> None:
    """`oc rollout latest` is followed by `oc rollout status`: it must not see the end of before."""
    body = {"kind": "DeploymentRequest", "name": "gate", "latest": True, "force": True}
    answer = await api.send("POST", f"{CONFIGS}/gate/instantiate", body)
    assert answer.json["status"]["latestVersion"] == 5
    conditions = {one["type"]: one for one in answer.json["status"]["conditions"]}
    assert conditions["Progressing"]["reason"] == "NewReplicationControllerCreated"


async def test_the_one_that_serves_has_its_replicas_while_the_wanted_one_has_none(
    api: Api,
) -> None:
    await remember(api, Phase.FAILED)
    gate = await stored(api)
    counts = {"replicas": 2, "updated_replicas": 0, "ready_replicas": 2, "available_replicas": 1}
    await api.store.update_status(gate.with_status(gate.status.model_copy(update=counts)))

    found = {}
    for number in (4, 3, 2):
        one = (await api.get(f"{CONTROLLERS}/gate-{number}")).json
        status = one["status"]
        found[number] = (
            one["spec"].get("replicas", 0),
            status.get("replicas", 0),
            status.get("readyReplicas", 0),
            status.get("availableReplicas", 0),
        )

    assert found[3] == (2, 2, 2, 1)
    assert found[4][1:] == (0, 0, 0)
    assert found[2] == (0, 0, 0, 0)
