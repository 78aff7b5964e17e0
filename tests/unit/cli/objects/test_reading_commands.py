"""get, describe, status, explain and logs against objects of a fix that has risen."""

import asyncio
import json
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from tests.unit.cli.conftest import NEW, OLD, SHOP_OLD, deployment, stream

if TYPE_CHECKING:
    from click.testing import Result
    from tests.unit.cli.conftest import FakeClient

type Upwell = Callable[..., "Result"]


@pytest.fixture(autouse=True)
def _objects(fixed: "FakeClient") -> None:
    """Every test here reads the risen fix."""


def test_get_prints_a_table_with_the_columns_of_the_kind(upwell: Upwell) -> None:
    result = upwell("get", "builds")

    assert result.exit_code == 0
    assert [line.split() for line in result.stdout.splitlines()] == [
        ["NAME", "TYPE", "STATUS", "STARTED", "AGE"],
        ["shop-1", "<none>", "Complete", "10m", "5m"],
        ["shop-2", "<none>", "Complete", "10m", "5m"],
    ]


def test_get_of_several_kinds_names_each_with_its_kind(upwell: Upwell) -> None:
    result = upwell("get", "is,bc")

    assert "imagestream.image.openshift.io/debian" in result.stdout
    assert "\n\nNAME" in result.stdout
    assert "buildconfig.build.openshift.io/shop" in result.stdout


def test_get_all_leaves_secrets_out(upwell: Upwell) -> None:
    names = upwell("get", "all", "-o", "name").stdout.split()

    assert "deployment.apps/shop" in names
    assert not any(name.startswith("secret") for name in names)


def test_get_one_as_json_is_the_object_and_several_are_a_list(upwell: Upwell) -> None:
    one = json.loads(upwell("get", "bc/shop", "-o", "json").stdout)
    several = json.loads(upwell("get", "bc", "-o", "json").stdout)

    assert one["metadata"]["name"] == "shop"
    assert several["kind"] == "List"
    assert several["items"] == [one]


def test_get_of_something_absent_exits_3_and_says_where_to_look(upwell: Upwell) -> None:
    result = upwell("get", "bc/nothing", "-n", "elsewhere")

    assert result.exit_code == 3
    assert result.stdout == ""
    assert result.stderr == (
        "error: buildconfig/nothing does not exist in namespace elsewhere;"
        " `upwell get buildconfig -A` lists what does\n"
    )


def test_an_empty_list_says_so_on_stderr_only(upwell: Upwell) -> None:
    result = upwell("get", "routes")

    assert (result.exit_code, result.stdout) == (0, "")
    assert "no objects found in namespace default" in result.stderr


@pytest.mark.parametrize("arguments", [("get", "gadgets"), ("get", "bc", "-l", "x")])
def test_a_wrong_kind_or_selector_is_a_usage_error(
    upwell: Upwell, arguments: tuple[str, ...]
) -> None:
    assert upwell(*arguments).exit_code == 2


def test_a_selector_narrows_the_list(upwell: Upwell) -> None:
    some = upwell("get", "builds", "-l", "openshift.io/build-config.name=shop", "-o", "name")
    none = upwell("get", "builds", "-l", "openshift.io/build-config.name=gate", "-o", "name")

    assert len(some.stdout.split()) == 2
    assert none.stdout == ""


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
    assert data["summary"] == {"workloads": 1, "current": 1, "faults": 0}


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


def test_status_of_an_empty_namespace_hints_at_apply(upwell: Upwell) -> None:
    result = upwell("status", "-n", "empty")

    assert result.stdout == ""
    assert "upwell apply -f" in result.stderr


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


def test_describe_a_build_shows_causes_and_the_end_of_its_log(upwell: Upwell) -> None:
    text = upwell("describe", "build/shop-2").stdout

    assert "Image change: debian:11 from aaaaaaaaaaaa to bbbbbbbbbbbb" in text
    assert "last line of the log" in text


def test_describe_a_workload_shows_revisions_and_what_really_runs(
    upwell: Upwell, client: "FakeClient"
) -> None:
    client.answers["deployments/shop/instances"] = {
        "items": [{"name": "shop-x1", "state": "Running", "ready": True, "restarts": 3}]
    }

    lines = [line.split() for line in upwell("describe", "deploy", "shop").stdout.splitlines()]

    assert ["shop-x1", "Running", "yes", "3", "-", "-"] in lines
    assert ["2", "Complete", "7m", "image", "change", "web=dddddddddddd"] in lines


def test_describe_a_secret_shows_keys_and_sizes_but_no_value(upwell: Upwell) -> None:
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "token"},
        "stringData": {"password": "hunter2"},
    }
    upwell("apply", "-f", "-", stdin=json.dumps(secret))

    text = upwell("describe", "secret/token").stdout

    assert ["password", "7", "bytes"] in [line.split() for line in text.splitlines()]
    assert "hunter2" not in text
    assert "aHVudGVyMg" not in text


def test_describe_an_image_stream_shows_history_and_the_next_check(upwell: Upwell) -> None:
    text = upwell("describe", "is/debian").stdout

    assert "in 5m" in text
    assert f"vendor.test/debian@sha256:{'a' * 64}" in text


def test_describe_an_image_stream_shows_what_is_selected_and_passed_over(
    upwell: Upwell, client: "FakeClient"
) -> None:
    document = stream("tools", "1", OLD, upstream="vendor.test/tools")
    state = document["status"]["tags"][0]["importState"]
    state |= {
        "selected": "1.9",
        "selectionReason": "the best of 12 tags for semver:1",
        "ignored": {
            "digest": NEW,
            "seen": "2026-03-01T12:00:00Z",
            "reason": "OtherPlatform",
            "message": "no platform of ours has changed",
        },
    }
    document["status"]["repository"] = {"source": "vendor.test/tools", "tags": ["1", "2"]}
    asyncio.run(client.put(document))

    lines = [line.split() for line in upwell("describe", "is/tools").stdout.splitlines()]

    assert ["1", "1.9", "the", "best", "of", "12", "tags", "for", "semver:1"] in lines
    passed = ["1", "bbbbbbbbbbbb", "5m", *["no", "platform", "of", "ours", "has", "changed"]]
    assert passed in lines
    assert ["Imported:", "2", "tags"] in lines
    [head] = [line for line in lines if "DIGEST" in line]
    row = next(line for line in lines if line[:2] == ["1", "aaaaaaaaaaaa"])
    assert "FIRST SEEN" in " ".join(head)
    assert row[5] == "15m", "first seen"


def test_logs_of_a_build_config_are_those_of_its_latest_build(
    upwell: Upwell, client: "FakeClient"
) -> None:
    client.logs["shop-2"] = b"step 1\nstep 2\n"

    result = upwell("logs", "bc/shop", "--tail", "2")

    assert result.stdout == "step 1\nstep 2\n"
    assert client.calls[-1] == ("STREAM", "builds/shop-2/log", {"tailLines": "2"})


def test_logs_of_a_kind_without_logs_is_a_usage_error(upwell: Upwell) -> None:
    assert upwell("logs", "is/debian").exit_code == 2


async def test_describe_and_get_tell_whether_a_route_is_admitted(
    upwell: Upwell, client: "FakeClient"
) -> None:
    condition = {"type": "Admitted", "status": "False", "reason": "NotServed", "message": "why not"}
    document = {
        "apiVersion": "route.openshift.io/v1",
        "kind": "Route",
        "metadata": {"namespace": "default", "name": "shop"},
        "spec": {"host": "shop.test", "to": {"name": "shop"}},
        "status": {"ingress": [{"routerName": "upwell", "conditions": [condition]}]},
    }
    await client.put(document)

    described = (await asyncio.to_thread(upwell, "describe", "route/shop")).stdout
    [row] = [line.split() for line in described.splitlines() if "Admitted" in line]
    assert row == ["Admitted", "False", "NotServed", "-", "why", "not"]
    listed = (await asyncio.to_thread(upwell, "get", "routes")).stdout.splitlines()
    assert listed[1].split()[:5] == ["shop", "shop.test", "<none>", "shop", "False"]


@pytest.mark.parametrize(
    ("conditions", "state"),
    [
        ([], "Pending"),
        ([("Started", "True", "Running")], "Running"),
        ([("Started", "False", "Suspended")], "Suspended"),
        ([("Started", "True", "Running"), ("Failed", "True", "DeadlineExceeded")], "Failed"),
        ([("Started", "True", "Running"), ("Complete", "True", "Reached")], "Complete"),
    ],
)
async def test_get_jobs_says_how_they_ended(
    upwell: Upwell, client: "FakeClient", conditions: list[tuple[str, str, str]], state: str
) -> None:
    found = [{"type": kind, "status": truth, "reason": why} for kind, truth, why in conditions]
    document = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"namespace": "default", "name": "load"},
        "status": {"conditions": found},
    }
    await client.put(document)

    lines = (await asyncio.to_thread(upwell, "get", "jobs")).stdout.splitlines()
    assert lines[1].split()[:2] == ["load", state]
