"""Pods that people make: who may, what may change of them, how they are shown and go."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from tests.support.server.api_server import START, Api, next_event, serving

from upwell.api.pod import Pod
from upwell.oci import Digest
from upwell.server.http.limits import ServerLimits
from upwell.workload.instance_spec import Owner
from upwell.workload.interface import Instance, ObservedContainer, State

PODS = "/api/v1/namespaces/shop/pods"
APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"
MOUNT = {"name": "none", "mountPath": "/x"}
DIGEST = Digest.of(b"an image")
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"


def pod(name: str = "task", **spec: Any) -> dict[str, Any]:
    containers = [{"name": "app", "image": "app:1", "env": [{"name": "A", "value": "b"}]}]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": "task"}},
        "spec": {"containers": containers, **spec},
    }


def instance(**changes: Any) -> Instance:
    container = ObservedContainer("app", "id", f"app@{DIGEST}", DIGEST, START, running=True)
    made = Instance(
        name="upwell-shop-po-task-0-0",
        owner=Owner("Pod", "shop", "task"),
        revision="rev",
        state=State.RUNNING,
        ready=True,
        ready_since=START,
        started_at=START,
        address="10.0.0.7",
        images={"app": DIGEST},
        containers=(replace(container, ready=True),),
    )
    return replace(made, **changes)


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    async with serving(ServerLimits()) as served:
        yield served


async def test_a_pod_is_stored_and_shown_with_what_runs_of_it(api: Api) -> None:
    made = await api.send("POST", PODS, pod())
    assert made.status == 201
    assert made.json["metadata"]["finalizers"] == ["upwell.dev/pod"]
    pending = (await api.get(f"{PODS}/task")).json
    assert pending["status"]["phase"] == "Pending"

    api.runtime.shown = [instance()]
    (shown,) = (await api.get(PODS)).json["items"]
    assert shown["metadata"]["uid"] == made.json["metadata"]["uid"]
    assert shown["spec"]["containers"][0]["env"] == [{"name": "A", "value": "b"}]
    assert (shown["status"]["phase"], shown["status"]["podIP"]) == ("Running", "10.0.0.7")
    rows = (await api.get(PODS, Accept=TABLE)).json["rows"]
    assert rows[0]["cells"][:3] == ["task", "1/1", "Running"]
    assert (await api.get(f"{PODS}/task/log")).status == 200


async def test_a_copy_of_a_workloads_pod_to_debug_is_a_pod_of_its_own(api: Api) -> None:
    """`oc debug pod/NAME` cuts the name at 63 characters and adds an end of its own."""
    original = "upwell-shop-deploy-web-0a1b2c3d-0"
    copied = f"{original}-debug-24567"
    made = await api.send("POST", PODS, pod(copied, restartPolicy="Never"))
    assert made.status == 201, made.json
    api.runtime.shown = [
        instance(name=f"upwell-shop-po-{copied}-0a1b2c3d-0", owner=Owner("Pod", "shop", copied)),
        instance(name=original, owner=Owner("Deployment", "shop", "web")),
    ]
    found = {one["metadata"]["name"]: one for one in (await api.get(PODS)).json["items"]}
    assert found.keys() == {copied, original}
    assert found[copied]["metadata"]["uid"] == made.json["metadata"]["uid"]
    assert (await api.send("DELETE", f"{PODS}/{copied}")).status == 200
    assert api.runtime.stopped == []  # its reconciler ends it, and nothing of the workload


async def test_a_watch_sees_it_come_and_change_and_go(api: Api) -> None:
    async with api.stream(f"{PODS}?watch=1") as stream:
        await api.send("POST", PODS, pod())
        assert (await next_event(stream))["type"] == "ADDED"
        patch = {"metadata": {"labels": {"tier": "back"}}}
        await api.send("PATCH", f"{PODS}/task", patch, MERGE)
        changed = await next_event(stream)
        assert changed["object"]["metadata"]["labels"]["tier"] == "back"
        await api.send("DELETE", f"{PODS}/task")
        going = await next_event(stream)
        assert going["object"]["metadata"]["deletionTimestamp"]
        stored = await api.store.get(Pod, "shop", "task")
        await api.store.update(stored.with_metadata(finalizers=()))
        assert (await next_event(stream))["type"] == "DELETED"


async def test_its_spec_stays_and_its_labels_change_with_every_verb(api: Api) -> None:
    await api.send("POST", PODS, pod())
    seen = (await api.get(f"{PODS}/task")).json
    seen["metadata"]["labels"]["a"] = "1"
    assert (await api.send("PUT", f"{PODS}/task", seen)).status == 200
    text = json.dumps(pod(restartPolicy="Never"))
    path = f"{PODS}/task?fieldManager=me&force=true"
    refused = await api.send("PATCH", path, json.loads(text), APPLY)
    assert (refused.status, "cannot be changed" in refused.json["message"]) == (422, True)
    assert [one["field"] for one in refused.json["details"]["causes"]] == ["spec"]
    assert (await api.send("PATCH", path, pod(), APPLY)).status == 200
    patch = {"spec": {"activeDeadlineSeconds": 30}}
    assert (await api.send("PATCH", f"{PODS}/task", patch, MERGE)).status == 200
    wrongs: list[Any] = [0, 10**30, "soon"]
    for wrong in wrongs:
        patch = {"spec": {"activeDeadlineSeconds": wrong}}
        assert (await api.send("PATCH", f"{PODS}/task", patch, MERGE)).status == 422
    other = await api.send("PATCH", f"{PODS}/another?fieldManager=me", pod("another"), APPLY)
    assert other.status == 201


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        (pod("upwell-x"), "an instance of a workload"),
        (pod("upwell-shop-deploy-web-0a1b2c3d-debug-24567-0"), "an instance of a workload"),
        (pod(restartPolicy="Sometimes"), "spec.restartPolicy"),
        (pod(activeDeadlineSeconds=0), "spec.activeDeadlineSeconds"),
        (pod(activeDeadlineSeconds=10**30), "spec.activeDeadlineSeconds"),
        (pod(containers=[]), "spec.containers: Required"),
        (pod(hostPID=True), "spec.hostPID"),
        (
            pod(containers=[{"name": "a", "image": "b", "volumeMounts": [MOUNT]}]),
            "spec.containers[0].volumeMounts[0]",
        ),
    ],
)
async def test_what_would_not_run_is_refused_with_its_path(
    api: Api, changed: dict[str, Any], why: str
) -> None:
    refused = await api.send("POST", PODS, changed)
    assert (refused.status, why in refused.json["message"]) == (422, True)


async def test_a_namespaces_profile_and_quota_hold_for_it(api: Api) -> None:
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}
    namespace["metadata"]["labels"] = labels  # type: ignore[index]
    await api.send("POST", "/api/v1/namespaces", namespace)
    forbidden = await api.send("POST", PODS, pod())
    assert (forbidden.status, "restricted" in forbidden.json["message"]) == (403, True)

    quota = {"metadata": {"name": "few"}, "spec": {"hard": {"pods": "1"}}}
    free = PODS.replace("shop", "free")
    await api.send("POST", free.replace("/pods", "/resourcequotas"), quota)
    assert (await api.send("POST", free, pod())).status == 201
    exceeded = await api.send("POST", free, pod("second"))
    assert (exceeded.status, "exceeded quota" in exceeded.json["message"]) == (403, True)


async def test_a_dry_run_changes_nothing(api: Api) -> None:
    assert (await api.send("POST", f"{PODS}?dryRun=All", pod())).status == 201
    assert (await api.get(f"{PODS}/task")).status == 404
    await api.send("POST", PODS, pod())
    for path in (f"{PODS}/task?dryRun=All", f"{PODS}?dryRun=All"):
        assert (await api.send("DELETE", path)).status == 200
    assert not (await api.store.get(Pod, "shop", "task")).is_deleting


async def test_whoever_deletes_it_says_how_long_it_may_take(api: Api) -> None:
    await api.send("POST", PODS, pod())
    api.runtime.shown = [instance()]
    deleted = await api.send("DELETE", f"{PODS}/task", {"gracePeriodSeconds": 7})
    assert deleted.json["metadata"]["deletionTimestamp"]
    stored = await api.store.get(Pod, "shop", "task")
    assert (stored.is_deleting, stored.status.grace_seconds) == (True, 7)
    await api.send("DELETE", f"{PODS}/task", {"gracePeriodSeconds": 0})
    assert api.runtime.stopped == [("upwell-shop-po-task-0-0", 0)]


async def test_an_eviction_is_a_deletion(api: Api) -> None:
    await api.send("POST", PODS, pod())
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "task"}}
    dry = eviction | {"deleteOptions": {"dryRun": ["All"]}}
    assert (await api.send("POST", f"{PODS}/task/eviction", dry)).status == 201
    assert not (await api.store.get(Pod, "shop", "task")).is_deleting
    other = eviction | {"deleteOptions": {"preconditions": {"uid": "of-another"}}}
    assert (await api.send("POST", f"{PODS}/task/eviction", other)).status == 409
    strange = eviction | {"deleteOptions": {"preconditions": "uid"}}
    assert (await api.send("POST", f"{PODS}/task/eviction", strange)).status == 400
    assert not (await api.store.get(Pod, "shop", "task")).is_deleting
    wanted = eviction | {"deleteOptions": {"gracePeriodSeconds": 3}}
    done = await api.send("POST", f"{PODS}/task/eviction", wanted)
    assert (done.status, done.json["status"]) == (201, "Success")
    stored = await api.store.get(Pod, "shop", "task")
    assert (stored.is_deleting, stored.status.grace_seconds) == (True, 3)


async def test_a_client_attaches_to_what_runs(api: Api) -> None:
    await api.send("POST", PODS, pod())
    api.runtime.shown = [instance()]
    url = f"{api.url}{PODS}/task/attach?stdin=true&stdout=true"
    async with api.session.ws_connect(url, protocols=("v5.channel.k8s.io",)) as socket:
        await socket.send_bytes(b"\x00typed")
        await socket.send_bytes(b"\xff\x00")
        received = [message.data async for message in socket]
    assert b"\x01typed" in received
    (attached,) = api.runtime.executions
    assert attached.command.words == ("attached",)


async def test_what_cannot_be_added_to_it_is_said(api: Api) -> None:
    await api.send("POST", PODS, pod())
    refused = await api.send("PATCH", f"{PODS}/task/ephemeralcontainers", {}, MERGE)
    assert (refused.status, "--copy-to" in refused.json["message"]) == (405, True)
