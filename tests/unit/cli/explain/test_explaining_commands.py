"""status and explain against objects of a fix that has risen."""

import asyncio
import json
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import pytest
from tests.unit.cli.conftest import SHOP_OLD, deployment

from upwell.api.core import Namespace
from upwell.api.meta import ObjectMeta

if TYPE_CHECKING:
    from click.testing import Result
    from tests.unit.cli.conftest import FakeClient


type Upwell = Callable[..., "Result"]


@pytest.fixture(autouse=True)
def _objects(fixed: "FakeClient") -> None:
    """Every test here reads the risen fix."""


def test_status_draws_the_way_from_the_vendor_to_the_workload(upwell: Upwell) -> None:
    result = upwell("status")

    assert result.stdout.splitlines() == [
        "vendor.test/debian:11",
        "└─ ImageStreamTag default/debian:11  bbbbbbbbbbbb, 15m ago",
        "   └─ BuildConfig default/shop  build shop-2 Complete, 10m ago, current",
        "      └─ ImageStreamTag default/shop:latest  dddddddddddd, 15m ago",
        "         └─ Deployment default/shop  2/2 ready, revision 2, dddddddddddd, 7m ago, current",
        "",
        "1 of 1 workloads run the newest of what they follow",
    ]


def test_status_as_json_has_nodes_in_order_and_a_summary(upwell: Upwell) -> None:
    data = json.loads(upwell("status", "-o", "json").stdout)

    assert [node["kind"] for node in data["nodes"]] == [
        "UpstreamImage",
        "StreamTag",
        "BuildConfig",
        "StreamTag",
        "Deployment",
    ]
    assert data["nodes"][-1]["behind"] == 0
    assert data["summary"] == {"workloads": 1, "current": 1, "faults": 0, "unknown": 0}


async def test_status_estimates_how_long_the_builds_that_wait_will_take(
    upwell: Upwell, client: "FakeClient"
) -> None:
    assert "until all have ended" not in (await asyncio.to_thread(upwell, "status")).stdout
    labels = {"openshift.io/build-config.name": "shop"}
    took_a_minute = {
        "phase": "Complete",
        "startTimestamp": "2026-01-01T10:00:00Z",
        "completionTimestamp": "2026-01-01T10:01:00Z",
    }
    waits = {"phase": "New", "reason": "NoFreeSlot"}
    for name, build_status in (("shop-3", took_a_minute), ("shop-4", waits), ("shop-5", waits)):
        document = {
            "apiVersion": "build.openshift.io/v1",
            "kind": "Build",
            "metadata": {"namespace": "default", "name": name, "labels": labels},
            "status": build_status,
        }
        await client.put(document)
    said = (await asyncio.to_thread(upwell, "status")).stdout
    assert "builds that wait for their turn: 2, running: 0; about 2m until all have ended" in said
    data = (await asyncio.to_thread(upwell, "status", "-o", "json")).stdout
    builds = json.loads(data)["builds"]
    assert builds == {"waiting": 2, "running": 0, "remainingSeconds": 120, "withoutHistory": 0}
    said = (await asyncio.to_thread(upwell, "explain", "build/shop-5")).stdout
    turn = "its turn is number 2 of 2 builds that wait; it begins in about 60s"
    assert f"{turn}, if builds take as long as before" in said
    assert "number 1 of 2" in (await asyncio.to_thread(upwell, "explain", "bc/shop")).stdout


async def test_status_ends_with_what_the_router_does_not_serve(
    upwell: Upwell, client: "FakeClient"
) -> None:
    why = "127.0.0.1:7088: Address already in use; stop what listens there"
    condition = {"type": "Admitted", "status": "False", "reason": "NotServed", "message": why}
    ingress = [{"routerName": "upwell", "conditions": [condition]}]
    for name, namespace in (("shop", "default"), ("other", "elsewhere")):
        document = {
            "apiVersion": "route.openshift.io/v1",
            "kind": "Route",
            "metadata": {"namespace": namespace, "name": name},
            "status": {"ingress": ingress},
        }
        await client.put(document)

    lines = (await asyncio.to_thread(upwell, "status")).stdout.splitlines()
    assert lines[-1] == f"! Route default/shop is not served: {why}"
    everywhere = (await asyncio.to_thread(upwell, "status", "-A", "-o", "json")).stdout
    named = [one["name"] for one in json.loads(everywhere)["unserved"]]
    assert named == ["Route default/shop", "Route elsewhere/other"]


async def test_status_calls_nothing_current_that_has_never_served(
    upwell: Upwell, client: "FakeClient"
) -> None:
    waiting = deployment(ready=0)
    waiting["metadata"] |= {"name": "later", "annotations": {}}
    await client.put(waiting)

    lines = (await asyncio.to_thread(upwell, "status")).stdout.splitlines()

    text = "0/2 ready, behind by 1: no revision was rolled out yet"
    assert f"Deployment default/later  {text}" in lines
    assert lines[-1] == "1 of 2 workloads run the newest of what they follow"


@pytest.mark.parametrize("command", ["status", "describe", "explain"])
async def test_words_of_states_have_colours(upwell: Upwell, command: str) -> None:
    name = () if command == "status" else ("deployment/shop",)
    told = await asyncio.to_thread(upwell, "--color", "always", command, *name)
    assert "\x1b[3" in told.stdout, told.stdout


async def test_status_says_how_far_what_is_only_told_of_is_behind(
    upwell: Upwell, client: "FakeClient"
) -> None:
    told = deployment((2, "Complete", SHOP_OLD), (1, "Complete", SHOP_OLD))
    (trigger,) = json.loads(told["metadata"]["annotations"]["image.openshift.io/triggers"])
    paused = json.dumps([trigger | {"paused": True}])
    told["metadata"]["name"] = "told"
    told["metadata"]["annotations"] = {"image.openshift.io/triggers": paused}
    told["status"]["conditions"] = [
        {"type": "ImageTriggered", "status": "False", "message": "all triggers are paused"}
    ]
    await client.put(told)
    lines = (await asyncio.to_thread(upwell, "status")).stdout.splitlines()
    assert any(line.endswith("behind by 1: all triggers are paused") for line in lines)


async def test_status_shows_what_a_pipeline_promotes_into_wherever_that_is(
    upwell: Upwell, client: "FakeClient"
) -> None:
    component = {"name": "web", "from": {"kind": "ImageStreamTag", "name": "shop:latest"}}
    live = {"name": "live", "namespace": "front", "workloads": [{"name": "shop"}]}
    pipeline = {
        "apiVersion": "upwell.dev/v1alpha1",
        "kind": "Pipeline",
        "metadata": {"name": "shop", "namespace": "default"},
        "spec": {"components": [component], "stages": [live]},
    }
    await client.put(pipeline)
    for name in ("shop", "other"):
        document = deployment()
        document["metadata"] = {"name": name, "namespace": "front"}
        await client.put(document)

    lines = (await asyncio.to_thread(upwell, "status")).stdout.splitlines()

    (line,) = (line for line in lines if "front/" in line)
    assert "Deployment front/shop" in line
    assert "no release in stage live of pipeline default/shop" in line


async def test_status_names_what_a_rollout_under_way_waits_for(
    upwell: Upwell, client: "FakeClient"
) -> None:
    hooked = deployment((1, "Progressing", SHOP_OLD), ready=0)
    hooked["metadata"]["name"] = "hooked"
    condition = {"type": "Progressing", "status": "True", "reason": "HookRunning"}
    hooked["status"]["conditions"] = [{**condition, "message": "the pre hook runs"}]
    await client.put(hooked)

    lines = (await asyncio.to_thread(upwell, "status")).stdout.splitlines()

    [line] = [line for line in lines if "default/hooked" in line]
    assert line.endswith("revision 1: 0 of 2 updated, 0 ready: the pre hook runs")


async def test_status_says_why_new_instances_are_not_ready(
    upwell: Upwell, client: "FakeClient"
) -> None:
    silent = deployment((2, "Progressing", SHOP_OLD), (1, "Complete", SHOP_OLD), ready=1)
    silent["metadata"]["name"] = "silent"
    message = "revision 2 (web = x) is progressing: 0 of 1 updated replicas are available: no port"
    condition = {"type": "Progressing", "status": "True", "reason": "ReplicaSetUpdated"}
    silent["status"]["conditions"] = [{**condition, "message": message}]
    await client.put(silent)

    lines = (await asyncio.to_thread(upwell, "status")).stdout.splitlines()

    [line] = [line for line in lines if "default/silent" in line]
    assert line.endswith("revision 2: 0 of 1 updated replicas are available: no port")


async def test_status_says_once_that_a_workload_is_held(
    upwell: Upwell, client: "FakeClient"
) -> None:
    held = deployment((1, "Complete", SHOP_OLD))
    held["metadata"]["name"] = "held"
    held["metadata"]["annotations"] |= {
        "upwell.dev/hold": "Black Friday",
        "upwell.dev/hold-until": "2026-11-30T09:00+01:00",
    }
    await client.put(held)

    lines = (await asyncio.to_thread(upwell, "status")).stdout.splitlines()

    [line] = [line for line in lines if "default/held" in line]
    assert line.endswith("behind by 1: held: Black Friday (until 2026-11-30 08:00 UTC)")
    assert line.count("Black Friday") == 1


async def test_status_of_an_empty_namespace_hints_at_apply(
    upwell: Upwell, client: "FakeClient"
) -> None:
    await client.create(Namespace(metadata=ObjectMeta(name="empty")))
    result = await asyncio.to_thread(upwell, "status", "-n", "empty")

    assert result.stdout == ""
    assert result.stderr == (
        "no objects in namespace empty; create some with `upwell apply -f`;"
        " `upwell status -A` shows all namespaces\n"
    )


async def test_a_namespace_that_is_not_there_is_told_beside_those_that_are(
    upwell: Upwell, client: "FakeClient"
) -> None:
    for name in ("default", *(f"team-{digit}" for digit in range(6)), "production"):
        await client.create(Namespace(metadata=ObjectMeta(name=name)))
    asked = partial(asyncio.to_thread, upwell, "status", "-n", "prodution")

    told = (await asked()).stderr
    assert "namespace prodution is not there; there are production, default, " in told
    assert told.count("team-") == 3
    assert "… (`upwell projects`)" in told

    client.forbidden.add("Namespace")
    told = (await asked()).stderr
    assert "no objects in namespace prodution" in told
    assert "is not there" not in told, "nobody has told"


def test_explain_goes_back_to_the_vendor_and_lists_packages(
    upwell: Upwell, client: "FakeClient"
) -> None:
    for digit, version in (("a", "2.31-13+deb11u11"), ("b", "2.31-13+deb11u14")):
        client.answers[f"images/sha256:{digit * 64}/packages"] = {
            "packages": [{"name": "libc6", "version": version}, {"name": "bash", "version": "5"}]
        }

    result = upwell("explain", "deployment/shop")

    assert result.exit_code == 0
    text = result.stdout
    assert "container web runs dddddddddddd, from default/shop:latest (automatic)" in text
    assert "because default/debian:11 changed from aaaaaaaaaaaa to bbbbbbbbbbbb" in text
    assert "libc6 2.31-13+deb11u11 -> 2.31-13+deb11u14" in text
    assert "bash" not in text
    assert "commit 0123456789ab: sell more" in text
    assert "vendor.test/debian:11 was first seen as bbbbbbbbbbbb" in text
    assert "nothing is due" in text
    assert "(2026-03-01 12:10:00Z, in 5m)" in text


def test_explain_goes_on_when_packages_are_not_known(upwell: Upwell) -> None:
    result = upwell("explain", "build/shop-2")

    assert result.exit_code == 0
    assert "build shop-2 made dddddddddddd" in result.stdout
    assert "cannot compare packages: those of an image are unknown" in result.stdout


def test_many_package_changes_are_summarised_unless_all_are_asked_for(
    upwell: Upwell, client: "FakeClient"
) -> None:
    for digit in "ab":
        client.answers[f"images/sha256:{digit * 64}/packages"] = {
            "packages": [{"name": f"p{n}", "version": digit} for n in range(20)]
        }

    some = upwell("explain", "build/shop-2").stdout
    every = upwell("explain", "build/shop-2", "--packages=all").stdout

    assert "and 12 more packages (--packages=all)" in some
    assert every.count(" a -> b") == 20


def test_explain_as_json_keeps_digests_and_times(upwell: Upwell) -> None:
    data = json.loads(upwell("explain", "build/shop-2", "-o", "json").stdout)

    [cause] = [entry for entry in data["statements"] if entry["topic"] == "cause"]
    assert cause["old"].endswith("a" * 64)
    assert cause["new"].endswith("b" * 64)


def test_explain_refuses_kinds_without_a_story(upwell: Upwell) -> None:
    assert upwell("explain", "secret/x").exit_code == 2


OPERATOR = {
    "apiVersion": "config.openshift.io/v1",
    "kind": "ClusterOperator",
    "metadata": {"name": "router"},
    "status": {
        "conditions": [
            {
                "type": "Degraded",
                "status": "True",
                "reason": "RouterDown",
                "message": "haproxy has ended; it is started again",
                "lastTransitionTime": "2026-03-01T11:58:00Z",
            }
        ],
        "extension": {
            "faults": [
                {
                    "since": "2026-03-01T10:00:00Z",
                    "reason": "RouterDown",
                    "message": "haproxy has ended",
                    "until": "2026-03-01T10:00:02Z",
                },
                {
                    "since": "2026-03-01T11:58:00Z",
                    "reason": "RouterDown",
                    "message": "haproxy has ended; it is started again",
                },
            ]
        },
    },
}


async def test_status_begins_with_components_that_are_faulty(
    upwell: Upwell, client: "FakeClient"
) -> None:
    await client.put(OPERATOR)

    lines = (await asyncio.to_thread(upwell, "status")).stdout.splitlines()
    assert lines[0] == "! component router: haproxy has ended; it is started again (for 7m)"
    assert lines[-1] == "1 of 1 workloads run the newest of what they follow; 1 fault"
    data = json.loads((await asyncio.to_thread(upwell, "status", "-o", "json")).stdout)
    assert data["summary"]["faults"] == 1
    assert data["components"] == [
        {
            "name": "router",
            "degraded": True,
            "reason": "RouterDown",
            "message": "haproxy has ended; it is started again",
            "since": "2026-03-01T11:58:00Z",
        }
    ]


async def test_explain_tells_the_faults_of_a_component(
    upwell: Upwell, client: "FakeClient"
) -> None:
    await client.put(OPERATOR)

    result = await asyncio.to_thread(upwell, "explain", "co/router")
    assert result.stdout.splitlines() == [
        "clusteroperator.config.openshift.io/router",
        "  RouterDown: haproxy has ended; it is started again (2026-03-01 11:58:00Z, 7m ago)",
        "  it was faulty: RouterDown: haproxy has ended (2026-03-01 10:00:00Z, 125m ago)",
        "    it worked again (2026-03-01 10:00:02Z, 124m ago)",
    ]
