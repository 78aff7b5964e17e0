"""Pods: what they show, how they are watched, entered and refused."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
from tests.support.server.api_server import START, Api, ApiClock, deployment, next_event, serving
from tests.support.server.audit_logs import audit_log
from tests.support.server.granted_api import GrantedApi, open_granted_api
from tests.support.workload.waiting import eventually

from upwell.api.apps import Deployment
from upwell.api.meta import Condition
from upwell.controller import ObjectCache
from upwell.oci import Digest
from upwell.policy.access.roles import parse_grant
from upwell.reconcilers.notifications.events import EventReconciler
from upwell.server.auth.access_control import AccessControl
from upwell.server.auth.tokens import RegistryTokens, TokenRecord, Tokens, hash_of, new_token
from upwell.server.http.limits import ServerLimits
from upwell.store.memory import MemoryStore
from upwell.workload.instance_spec import Owner
from upwell.workload.interface import Instance, ObservedContainer, State

DEPLOYMENTS = "/apis/apps/v1/namespaces/shop/deployments"
REPLICA_SETS = "/apis/apps/v1/namespaces/shop/replicasets"
PODS = "/api/v1/namespaces/shop/pods"
EVENTS = "/api/v1/namespaces/shop/events"
DIGEST = Digest.of(b"an image")
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
SECONDS = 5


def instance(name: str, **changes: Any) -> Instance:
    container = ObservedContainer(
        "web", f"id-{name}", f"localhost/web@{DIGEST}", DIGEST, START, running=True, ready=True
    )
    made = Instance(
        name=name,
        owner=Owner("Deployment", "shop", "web"),
        revision="rev1",
        state=State.RUNNING,
        ready=True,
        ready_since=START,
        started_at=START,
        address="10.0.0.7",
        images={"web": DIGEST},
        begun_at=START - timedelta(minutes=5),
        labels={"app": "web"},
        containers=(container,),
    )
    return replace(made, **changes)


@pytest.fixture
async def pods() -> AsyncIterator[Api]:
    async with serving(ServerLimits(body_seconds=1)) as api:
        wanted = deployment("web")
        (container,) = wanted["spec"]["template"]["spec"]["containers"]
        container["ports"] = [{"containerPort": 8080, "name": "http"}]
        container["env"] = [{"name": "A", "value": "hunter2"}]
        await api.send("POST", DEPLOYMENTS, wanted)
        api.runtime.shown = [instance("web-1"), instance("web-2")]
        yield api


async def test_a_pod_shows_what_runs(pods: Api) -> None:
    pod = (await pods.get(f"{PODS}/web-1")).json

    owner = (await pods.get(f"{DEPLOYMENTS}/web")).json
    assert pod["metadata"]["labels"] == {"app": "web"}
    assert pod["metadata"]["creationTimestamp"] == "2024-05-01T11:55:00Z"
    assert pod["metadata"]["ownerReferences"] == [
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "name": "web",
            "uid": owner["metadata"]["uid"],
            "controller": True,
        }
    ]
    ports = [{"containerPort": 8080, "name": "http", "protocol": "TCP"}]
    image = f"localhost/web@{DIGEST}"
    assert pod["spec"]["containers"] == [{"name": "web", "image": image, "ports": ports}]
    status = pod["status"]
    assert (status["phase"], status["podIP"]) == ("Running", "10.0.0.7")
    assert {entry["type"]: entry["status"] for entry in status["conditions"]} == {
        "PodScheduled": "True",
        "Initialized": "True",
        "ContainersReady": "True",
        "Ready": "True",
    }
    (container,) = status["containerStatuses"]
    assert container["imageID"] == f"localhost/web@{DIGEST}"
    assert container["state"] == {"running": {"startedAt": "2024-05-01T12:00:00Z"}}


async def test_what_is_secret_in_a_template_stays_there(pods: Api) -> None:
    assert "hunter2" in (await pods.get(DEPLOYMENTS)).text
    assert "hunter2" not in (await pods.get(PODS)).text


@pytest.mark.parametrize(
    ("changes", "phase", "shown"),
    [
        ({"state": State.INITIALIZING}, "Pending", "Pending"),
        ({"state": State.CREATED, "containers": ()}, "Pending", "ContainerCreating"),
        ({"state": State.EXITED}, "Running", "Running"),
        ({"state": State.LOST, "role": "pre"}, "Unknown", "Unknown"),
        ({"state": State.EXITED, "exit_codes": {"web": 0}}, "Running", "Running"),
        (
            {"state": State.EXITED, "exit_codes": {"web": 0}, "role": "pre"},
            "Succeeded",
            "Succeeded",
        ),
        ({"state": State.EXITED, "exit_codes": {"web": 1}, "role": "pre"}, "Failed", "Failed"),
    ],
)
async def test_phases_say_how_far_it_is(
    pods: Api, changes: dict[str, Any], phase: str, shown: str
) -> None:
    pods.runtime.shown = [instance("web-1", **changes)]
    assert (await pods.get(f"{PODS}/web-1")).json["status"]["phase"] == phase
    assert (await pods.get(f"{PODS}/web-1", Accept=TABLE)).json["rows"][0]["cells"][2] == shown


async def test_a_table_has_the_columns_that_people_know(pods: Api) -> None:
    failed = replace(
        pods.runtime.shown[1].containers[0],
        running=False,
        ready=False,
        exit_code=3,
        restarts=2,
        ended_at=START,
    )
    pods.runtime.shown[1] = instance("web-2", ready=False, containers=(failed,))
    table = (await pods.get(PODS, Accept=TABLE)).json
    shown = [column["name"] for column in table["columnDefinitions"] if not column["priority"]]
    assert shown == ["Name", "Ready", "Status", "Restarts", "Age"]
    assert [row["cells"][:5] for row in table["rows"]] == [
        ["web-1", "1/1", "Running", "0", "5m"],
        ["web-2", "0/1", "Error", "2", "5m"],
    ]


def ended(code: int, after: timedelta, **changes: Any) -> Instance:
    """Return a replica whose container has ended for the third time, so long after its start."""
    container = replace(
        instance("web-1").containers[0],
        running=False,
        ready=False,
        exit_code=code,
        restarts=2,
        ended_at=START + after,
    )
    state: dict[str, Any] = {"state": State.EXITED, "ready": False, "ready_since": None}
    return instance("web-1", containers=(container,), restarts=2, **state | changes)


@pytest.mark.parametrize(("code", "why"), [(3, "Error"), (0, "Completed")])
async def test_a_crash_loop_is_shown_as_kubelet_does(pods: Api, code: int, why: str) -> None:
    pods.runtime.shown = [ended(code, timedelta(seconds=2), exit_codes={"web": code})]
    pod = (await pods.get(f"{PODS}/web-1")).json
    [status] = pod["status"]["containerStatuses"]
    uid = pod["metadata"]["uid"]
    message = f"back-off 40s restarting failed container=web pod=web-1_shop({uid})"
    assert status["state"] == {"waiting": {"reason": "CrashLoopBackOff", "message": message}}
    times = {"startedAt": "2024-05-01T12:00:00Z", "finishedAt": "2024-05-01T12:00:02Z"}
    assert status["lastState"] == {"terminated": {"exitCode": code, "reason": why, **times}}
    assert (pod["status"]["phase"], status["restartCount"]) == ("Running", 2)
    [scheduled] = [one for one in pod["status"]["conditions"] if one["type"] == "PodScheduled"]
    assert scheduled["lastTransitionTime"] == pod["metadata"]["creationTimestamp"]
    table = (await pods.get(f"{PODS}/web-1", Accept=TABLE)).json
    assert table["rows"][0]["cells"][:4] == ["web-1", "0/1", "CrashLoopBackOff", "2"]


@pytest.mark.parametrize(
    ("after", "changes"),
    [(41, {}), (2, {"role": "pre"}), (2, {"owner": Owner("Job", "shop", "web")})],
)
async def test_what_waits_for_no_restart_is_no_crash_loop(
    pods: Api, after: int, changes: dict[str, Any]
) -> None:
    pods.runtime.shown = [ended(3, timedelta(seconds=after), **changes)]
    [status] = (await pods.get(f"{PODS}/web-1")).json["status"]["containerStatuses"]
    assert status["state"]["terminated"]["reason"] == "Error"
    assert not status.get("lastState")


@pytest.mark.parametrize(("memory", "why"), [(False, "Error"), (True, "OOMKilled")])
async def test_what_runs_again_shows_how_it_ended_last(pods: Api, memory: bool, why: str) -> None:  # noqa: FBT001 - a parameter of the test
    [container] = ended(137, timedelta(seconds=2)).containers
    last = replace(container, out_of_memory=memory)
    [now] = instance("web-1").containers
    pods.runtime.shown = [instance("web-1", containers=(replace(now, previous=last),))]

    [status] = (await pods.get(f"{PODS}/web-1")).json["status"]["containerStatuses"]

    assert "running" in status["state"]
    times = {"startedAt": "2024-05-01T12:00:00Z", "finishedAt": "2024-05-01T12:00:02Z"}
    assert status["lastState"] == {"terminated": {"exitCode": 137, "reason": why, **times}}


async def test_what_the_machine_lost_is_shown_as_kubernetes_does(pods: Api) -> None:
    [container] = pods.runtime.shown[0].containers
    lost = replace(container, running=False, ready=False, lost=True)
    changes: dict[str, Any] = {"state": State.LOST, "message": "unknown", "ready": False}
    pods.runtime.shown = [instance("web-1", containers=(lost,), **changes)]
    [status] = (await pods.get(f"{PODS}/web-1")).json["status"]["containerStatuses"]
    assert status["state"]["terminated"]["reason"] == "ContainerStatusUnknown"
    assert status["state"]["terminated"]["exitCode"] == 137
    table = (await pods.get(f"{PODS}/web-1", Accept=TABLE)).json
    assert table["rows"][0]["cells"][:3] == ["web-1", "0/1", "ContainerStatusUnknown"]


async def test_lists_select_by_labels_fields_and_namespace(pods: Api) -> None:
    pods.runtime.shown.append(instance("db-1", labels={"app": "db"}, state=State.CREATED))
    pods.runtime.shown.append(instance("x-1", owner=Owner("Deployment", "other", "web")))

    async def found(path: str) -> list[str]:
        return [item["metadata"]["name"] for item in (await pods.get(path)).json["items"]]

    assert await found(PODS) == ["db-1", "web-1", "web-2"]
    assert await found("/api/v1/pods") == ["x-1", "db-1", "web-1", "web-2"]
    assert await found(f"{PODS}?labelSelector=app%3Ddb") == ["db-1"]
    assert await found(f"{PODS}?fieldSelector=status.phase%3DRunning") == ["web-1", "web-2"]
    assert await found(f"{PODS}?fieldSelector=metadata.name%3Dweb-2") == ["web-2"]
    page = (await pods.get(f"{PODS}?limit=1")).json["metadata"]
    assert await found(f"{PODS}?limit=1&continue={page['continue']}") == ["web-1"]


async def test_a_watch_goes_on_where_a_list_ended(pods: Api) -> None:
    version = (await pods.get(PODS)).json["metadata"]["resourceVersion"]
    pods.runtime.shown[0] = instance("web-1", ready=False)

    async with pods.stream(f"{PODS}?watch=1&resourceVersion={version}") as stream:
        changed = await next_event(stream)
        assert (changed["type"], changed["object"]["metadata"]["name"]) == ("MODIFIED", "web-1")
        pods.runtime.shown = [instance("web-2"), instance("web-3")]
        pods.runtime.tell(Owner("Deployment", "shop", "web"))
        events = [await next_event(stream), await next_event(stream)]
    assert [(event["type"], event["object"]["metadata"]["name"]) for event in events] == [
        ("DELETED", "web-1"),
        ("ADDED", "web-3"),
    ]


async def test_a_pod_of_the_same_name_is_another_one(pods: Api) -> None:
    version = (await pods.get(PODS)).json["metadata"]["resourceVersion"]
    old = (await pods.get(f"{PODS}/web-1")).json["metadata"]
    pods.runtime.shown[0] = instance("web-1", started_at=START - timedelta(minutes=1))
    assert (await pods.get(f"{PODS}/web-1")).json["metadata"]["uid"] == old["uid"]

    pods.runtime.shown[0] = instance("web-1", begun_at=START)
    async with pods.stream(f"{PODS}?watch=1&resourceVersion={version}") as stream:
        events = [await next_event(stream) for _ in range(3)]
    assert [event["type"] for event in events] == ["MODIFIED", "DELETED", "ADDED"]
    assert events[1]["object"]["metadata"]["uid"] == old["uid"]
    assert events[2]["object"]["metadata"]["uid"] != old["uid"]


@pytest.mark.parametrize("version", ["1", "99999999999999999999", "x"])
async def test_versions_of_another_life_have_expired(pods: Api, version: str) -> None:
    async with pods.stream(f"{PODS}?watch=1&resourceVersion={version}") as stream:
        event = await next_event(stream)
    assert (event["type"], event["object"]["code"]) == ("ERROR", 410)


async def test_instances_of_workloads_are_not_written(pods: Api) -> None:
    body = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web-1"}}
    for method, path in (("PUT", f"{PODS}/web-1"), ("PATCH", f"{PODS}/web-1")):
        answer = await pods.send(method, path, body)
        assert (answer.status, answer.json["reason"]) == (405, "MethodNotAllowed")
        assert "workload" in answer.json["message"]
    assert (await pods.get(f"{PODS}/nobody")).status == 404


async def test_a_deleted_pod_is_stopped(pods: Api) -> None:
    uid = (await pods.get(f"{PODS}/web-1")).json["metadata"]["uid"]
    assert (await pods.send("DELETE", f"{PODS}/web-1?dryRun=All")).status == 200
    other = await pods.send("DELETE", f"{PODS}/web-1", {"preconditions": {"uid": "another"}})
    assert other.status == 409
    assert (await pods.send("DELETE", f"{PODS}/web-1?gracePeriodSeconds=x")).status == 400
    assert pods.runtime.stopped == []

    done = await pods.send("DELETE", f"{PODS}/web-1", {"gracePeriodSeconds": 7})
    assert (done.json["kind"], done.json["metadata"]["uid"]) == ("Pod", uid)
    await pods.send("DELETE", f"{PODS}/web-2")
    assert pods.runtime.stopped == [("web-1", 7), ("web-2", 30)]


async def test_logs_are_read_as_kubernetes_reads_them(pods: Api) -> None:
    pods.runtime.log_texts[("web-1", "")] = b"one\ntwo\n"
    pods.runtime.log_texts[("web-1", "web")] = b"web\n"
    assert (await pods.get(f"{PODS}/web-1/log")).text == "one\ntwo\n"
    assert (await pods.get(f"{PODS}/web-1/log?container=web")).text == "web\n"
    assert (await pods.get(f"{PODS}/web-1/log?tailLines=1&limitBytes=2")).text == "tw"
    assert (await pods.get(f"{PODS}/web-1/log?previous=true")).status == 400
    for wrong in ("container=x", "sinceSeconds=x", "sinceTime=noon", "sinceTime=2024-05-01T00:00"):
        assert (await pods.get(f"{PODS}/web-1/log?{wrong}")).status == 400
    assert (await pods.get(f"{PODS}/nobody/log")).status == 404


async def read_channels(socket: aiohttp.ClientWebSocketResponse) -> dict[int, bytes]:
    """Return what comes on each channel until the server closes."""
    found: dict[int, bytes] = {}
    async with asyncio.timeout(SECONDS):
        async for message in socket:
            found[message.data[0]] = found.get(message.data[0], b"") + message.data[1:]
    return found


@pytest.mark.parametrize(
    ("protocol", "end"), [("v5.channel.k8s.io", b"\xff\x00"), ("v4.channel.k8s.io", None)]
)
async def test_a_command_is_fed_and_says_how_it_ended(
    pods: Api, protocol: str, end: bytes | None
) -> None:
    query = "command=tee&command=-a&stdin=true&stdout=true&container=web"
    url = f"{pods.url}{PODS}/web-1/exec?{query}"
    async with pods.session.ws_connect(url, protocols=("x", protocol)) as socket:
        assert socket.protocol == protocol
        await socket.send_bytes(b"\x00")
        await socket.send_bytes(b'\x04{"Width": 80, "Height": 24}')
        for nonsense in (b"\x04{}", b"\x04[]", b"\x04x", b"\x04" + b'{"Width":-1,"Height":1}', b""):
            await socket.send_bytes(nonsense)
        await socket.send_str("\x00typed")
        if end:
            await socket.send_bytes(end)
            found = await read_channels(socket)
            outcome = json.loads(found[3])
            assert outcome["details"]["causes"] == [{"reason": "ExitCode", "message": "3"}]
            assert (found[1], found[2]) == (b"typed", b"tee -a")
    (execution,) = pods.runtime.executions
    assert (execution.name, execution.command.container) == ("web-1", "web")
    assert execution.sizes == [(80, 24)]


async def test_a_command_ends_when_its_client_leaves(pods: Api) -> None:
    url = f"{pods.url}{DEPLOYMENTS}/web/exec?command=cat&stdin=1&instance=web-2"
    async with pods.session.ws_connect(url, protocols=("v4.channel.k8s.io",)) as socket:
        assert (await socket.receive()).data == b"\x01"
        (execution,) = pods.runtime.executions
        assert (execution.name, execution.over.is_set()) == ("web-2", False)
    async with asyncio.timeout(SECONDS):
        await execution.over.wait()


async def test_commands_of_a_client_are_started_in_turn(pods: Api) -> None:
    pods.runtime.may_start.clear()
    url = f"{pods.url}{PODS}/web-1/exec?command=id"

    async def run() -> dict[int, bytes]:
        async with pods.session.ws_connect(url, protocols=("v4.channel.k8s.io",)) as socket:
            return await read_channels(socket)

    async def arrived() -> bool:
        return "upwell_watches 7.0" in (await pods.send("GET", "/metrics")).text

    commands = [asyncio.create_task(run()) for _ in range(7)]
    await eventually(arrived, bool)
    assert pods.runtime.starting == 2
    pods.runtime.may_start.set()
    assert [found[2] for found in await asyncio.gather(*commands)] == [b"id"] * 7


@pytest.mark.parametrize(
    ("path", "protocol", "status", "why"),
    [
        (f"{PODS}/web-1/exec", "v4.channel.k8s.io", 400, "command"),
        (f"{PODS}/web-1/exec?command=x", "base64.channel.k8s.io", 400, "v5.channel.k8s.io"),
        (f"{PODS}/web-1/exec?command=x&container=y", "v4.channel.k8s.io", 400, "no container"),
        (f"{PODS}/nobody/exec?command=x", "v4.channel.k8s.io", 404, "not found"),
        (f"{PODS}/gone/exec?command=x", "v4.channel.k8s.io", 400, "does not run"),
        (f"{DEPLOYMENTS}/idle/exec?command=x", "v4.channel.k8s.io", 400, "no instance of"),
        (f"{DEPLOYMENTS}/idle/portforward?ports=80", "v4.channel.k8s.io", 400, "no instance of"),
        (
            f"{DEPLOYMENTS}/web/exec?command=x&instance=web-9",
            "v4.channel.k8s.io",
            404,
            "no instance 'web-9' of Deployment shop/web runs",
        ),
        (f"{PODS}/web-1/portforward", "v4.channel.k8s.io", 400, "ports"),
        (f"{PODS}/web-1/portforward?ports=0", "v4.channel.k8s.io", 400, "ports"),
        (f"{PODS}/web-1/portforward?ports=80,x", "v4.channel.k8s.io", 400, "ports"),
        (f"{PODS}/web-1/log", "v4.channel.k8s.io", 400, "not support WebSockets"),
        ("/apis/nope/v1/things", "v4.channel.k8s.io", 404, "no resource"),
    ],
)
async def test_an_upgrade_is_refused_with_a_status(
    pods: Api, path: str, protocol: str, status: int, why: str
) -> None:
    pods.runtime.shown.append(instance("gone", state=State.EXITED))
    await pods.send("POST", DEPLOYMENTS, deployment("idle"))
    headers = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Protocol": protocol,
    }
    answer = await pods.send("GET", path, **headers)
    assert (answer.status, answer.json["kind"]) == (status, "Status")
    assert why in answer.json["message"]


@pytest.mark.parametrize("part", ["exec", "attach", "portforward"])
async def test_without_a_websocket_it_is_said_what_is_missing(pods: Api, part: str) -> None:
    answer = await pods.send("POST", f"{PODS}/web-1/{part}")
    assert answer.status == 400
    assert "WebSocket" in answer.json["message"]
    assert (await pods.send("POST", f"{PODS}/nobody/{part}")).status == 404
    # Clients tell by the name whether it is the object that is missing, or the whole part.
    missing = await pods.send("GET", f"{DEPLOYMENTS}/nobody/{part}")
    assert (missing.status, missing.json["details"].get("name")) == (404, "nobody")


async def test_a_page_of_another_site_opens_no_websocket(pods: Api) -> None:
    url = f"{pods.url}{PODS}/web-1/exec?command=id"
    for origin, status in (("https://evil.example", 403), (pods.url, 101)):
        with contextlib.suppress(aiohttp.WSServerHandshakeError):
            async with pods.session.ws_connect(
                url, protocols=("v4.channel.k8s.io",), origin=origin
            ) as socket:
                assert status == 101
                await read_channels(socket)
    assert len(pods.runtime.executions) == 1


async def test_ports_are_channels_of_one_websocket(pods: Api) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"got " + await reader.readexactly(5))
        writer.close()

    url = f"{pods.url}{PODS}/web-1/portforward?ports=80&ports=81&ports=82"
    offered = ("v5.channel.k8s.io", "v4.channel.k8s.io")  # as the Python client does
    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        pods.runtime.ports = {80: port, 82: port}
        async with pods.session.ws_connect(url, protocols=offered) as socket:
            assert socket.protocol == "v4.channel.k8s.io"
            await socket.send_bytes(b"\x00first")
            await socket.send_bytes(b"\x04third")
            found = await read_channels(socket)
    assert found == {
        0: (80).to_bytes(2, "little") + b"got first",
        1: (80).to_bytes(2, "little"),
        2: (81).to_bytes(2, "little"),
        3: (81).to_bytes(2, "little") + b"port 81: nothing listens in web-1",
        4: (82).to_bytes(2, "little") + b"got third",
        5: (82).to_bytes(2, "little"),
    }


async def test_who_speaks_v5_alone_ends_each_direction(pods: Api) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.read())
        writer.close()

    url = f"{pods.url}{PODS}/web-1/portforward?ports=80"
    async with await asyncio.start_server(echo, "127.0.0.1", 0) as server:
        pods.runtime.ports = {80: server.sockets[0].getsockname()[1]}
        async with pods.session.ws_connect(url, protocols=("v5.channel.k8s.io",)) as socket:
            await socket.send_bytes(b"\x00all")
            await socket.send_bytes(b"\xff\x00")
            found = await read_channels(socket)
    assert found == {0: b"P\x00all", 1: b"P\x00", 255: b"\x00"}


async def test_a_websocket_ends_with_its_last_connection(pods: Api) -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        del reader
        writer.write(b"bye")
        writer.close()

    url = f"{pods.url}{PODS}/web-1/portforward?ports=80"
    async with await asyncio.start_server(greet, "127.0.0.1", 0) as server:
        pods.runtime.ports = {80: server.sockets[0].getsockname()[1]}
        async with pods.session.ws_connect(url, protocols=("v4.channel.k8s.io",)) as socket:
            found = await read_channels(socket)
    assert found == {0: b"P\x00bye", 1: b"P\x00"}


async def test_viewers_look_and_deployers_enter(tmp_path: Path) -> None:
    def guard(store: MemoryStore, clock: ApiClock) -> AccessControl:
        tokens = Tokens(store, clock, [], RegistryTokens())
        return AccessControl(tokens, audit_log(tmp_path, clock))

    async with serving(ServerLimits(), guard=guard) as api:
        api.runtime.shown = [instance("web-1")]
        api.runtime.log_texts[("web-1", "")] = b"one\n"
        headers = {}
        for role in ("viewer", "deployer"):
            token = new_token(role)
            record = TokenRecord(role, hash_of(token), (parse_grant(f"{role}@shop"),), None)
            await api.store.create(record.as_secret())
            headers[role] = {"Authorization": f"Bearer {token}"}

        assert (await api.get(PODS, **headers["viewer"])).status == 200
        assert (await api.get(f"{PODS}/web-1/log", **headers["viewer"])).text == "one\n"
        assert (await api.send("DELETE", f"{PODS}/web-1", **headers["viewer"])).status == 403
        url = f"{api.url}{PODS}/web-1/exec?command=id"
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await api.session.ws_connect(url, headers=headers["viewer"])
        assert refused.value.status == 403
        async with api.session.ws_connect(
            url, headers=headers["deployer"], protocols=("v4.channel.k8s.io",)
        ) as socket:
            assert 3 in await read_channels(socket)
        assert (await api.send("DELETE", f"{PODS}/web-1", **headers["deployer"])).status == 200

    files = [tmp_path / "audit-denied.log", tmp_path / "audit.log"]
    lines = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    noted = [(line["user"], line["verb"], line["subresource"], line["code"]) for line in lines]
    assert noted == [
        ("viewer", "delete", "", 403),
        ("viewer", "get", "exec", 403),
        ("deployer", "get", "exec", 101),
        ("deployer", "delete", "", 200),
    ]


@pytest.mark.parametrize(("grants", "enters"), [("viewer@shop", True), ("promoter@shop", False)])
async def test_nobody_enters_what_has_the_token_of_who_may_do_more(
    tmp_path: Path,
    grants: str,
    enters: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    async with open_granted_api(tmp_path) as granted:
        await granted.grant("dora", "deployer@shop")
        annotations = {"upwell.dev/grants": grants}
        account = {"metadata": {"name": "bot", "annotations": annotations}}
        assert (await granted.create("admin", "serviceaccounts", "shop", account)).status == 201
        wanted = deployment("web")
        pod = wanted["spec"]["template"]["spec"]
        pod |= {"serviceAccountName": "bot", "automountServiceAccountToken": True}
        assert (await granted.create("admin", "deployments", "shop", wanted)).status == 201
        granted.api.runtime.shown = [instance("web-1")]
        if enters:
            async with entering(granted) as socket:
                assert 3 in await read_channels(socket)
        else:
            await assert_no_entry(granted)


@pytest.mark.parametrize("is_there", [True, False])
async def test_the_token_that_an_instance_has_counts_whatever_its_owner_says_since(
    tmp_path: Path,
    is_there: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    async with open_granted_api(tmp_path) as granted:
        await granted.grant("dora", "deployer@shop")
        account = {
            "metadata": {"name": "bot", "annotations": {"upwell.dev/grants": "promoter@shop"}}
        }
        assert (await granted.create("admin", "serviceaccounts", "shop", account)).status == 201
        if is_there:
            made = await granted.create("dora", "deployments", "shop", deployment("web"))
            assert made.status == 201
        granted.api.runtime.shown = [instance("web-1", accounts=("bot",))]
        await assert_no_entry(granted)


def entering(granted: GrantedApi) -> Any:
    """Return a WebSocket into an instance, to be opened."""
    url = f"{granted.api.url}{PODS}/web-1/exec?command=id"
    headers = {"Authorization": f"Bearer {granted.tokens['dora']}"}
    return granted.api.session.ws_connect(url, headers=headers, protocols=("v4.channel.k8s.io",))


async def assert_no_entry(granted: GrantedApi) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await entering(granted)
    assert refused.value.status == 403
    assert not granted.api.runtime.executions


def about(pod: dict[str, Any]) -> str:
    """The field selector of `kubectl describe pod`."""
    metadata = pod["metadata"]
    kind = f"involvedObject.kind=Pod,involvedObject.name={metadata['name']}"
    return quote(f"{kind},involvedObject.uid={metadata['uid']}")


async def test_a_workload_without_its_image_shows_the_pod_that_waits_for_it(pods: Api) -> None:
    workload = await pods.store.get(Deployment, "shop", "web")
    why = "no manifest registry.test/web:9: check the name, and that it was pushed"
    missing = Condition(
        type="ImagesAvailable",
        status="False",
        reason="ManifestUnknown",
        message=why,
        last_transition_time=START,
    )
    waiting = workload.status.model_copy(update={"conditions": (missing,)})
    await pods.store.update_status(workload.with_status(waiting))

    async def awaited() -> list[dict[str, Any]]:
        listed = (await pods.get(PODS)).json["items"]
        return [pod for pod in listed if pod["metadata"]["name"] not in {"web-1", "web-2"}]

    (pod,) = await eventually(awaited, bool)
    name = pod["metadata"]["name"]
    assert name.startswith("upwell-shop-deploy-web-")
    assert name.endswith("-0")
    assert pod["metadata"]["labels"] == {"app": "web"}
    assert pod["metadata"]["ownerReferences"][0]["name"] == "web"
    (container,) = pod["spec"]["containers"]
    assert "hunter2" not in json.dumps(container)
    assert pod["status"]["phase"] == "Pending"
    (status,) = pod["status"]["containerStatuses"]
    assert status["state"] == {"waiting": {"reason": "ImagePullBackOff", "message": why}}
    assert not status.get("ready")
    table = (await pods.send("GET", PODS, Accept=TABLE)).json
    assert [name, "0/1", "ImagePullBackOff", "0"] in [row["cells"][:4] for row in table["rows"]]
    log = await pods.get(f"{PODS}/{name}/log")
    assert (log.status, log.json["message"]) == (
        400,
        f'container "web" in pod "{name}" is waiting to start: {why}',
    )
    (revision,) = (await pods.get(REPLICA_SETS)).json["items"]  # `oc status` counts the Pod to it
    assert revision["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "1"
    assert revision["metadata"]["ownerReferences"][0]["name"] == "web"
    assert revision["spec"]["selector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()

    recorder = EventReconciler(ObjectCache(pods.store), pods.clock)
    for _ in range(2):
        await recorder.reconcile(workload.key)
    (event,) = (await pods.get(f"{EVENTS}?fieldSelector={about(pod)}")).json["items"]
    assert (event["reason"], event["type"], event.get("count", 1)) == ("BackOff", "Warning", 1)
    assert why in event["message"]

    pods.clock.advance(hours=1)
    assert (await pods.send("DELETE", f"{PODS}/{name}", {})).status == 200
    (other,) = await awaited()  # `kubectl delete` waits until the name is another Pod's
    assert other["metadata"]["name"] == name
    assert other["metadata"]["uid"] != pod["metadata"]["uid"]
    assert other["metadata"]["creationTimestamp"] == "2024-05-01T13:00:00Z"

    # The instance that is started for it has the Pod's name: there is one of them, not two.
    pods.runtime.shown = [*pods.runtime.shown, instance(name, state=State.PULLING)]
    (shown,) = [pod for pod in await awaited() if pod["metadata"]["name"] == name]
    assert "ImagePullBackOff" not in json.dumps(shown)
    pods.runtime.shown = pods.runtime.shown[:2]

    workload = await pods.store.get(Deployment, "shop", "web")
    there = workload.status.model_copy(update={"conditions": ()})
    await pods.store.update_status(workload.with_status(there))
    await eventually(awaited, lambda seen: not seen)
