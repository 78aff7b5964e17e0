"""get and describe against objects of a fix that has risen."""

import asyncio
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.cli.conftest import NEW, OLD, stream

from upwell.api.core import Event
from upwell.store.kubernetes_errors import StoreForbiddenError

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
        ["NAME", "TYPE", "FROM", "STATUS", "STARTED", "DURATION"],
        ["shop-1", "Complete", "10", "minutes", "ago", "10m"],
        ["shop-2", "Complete", "10", "minutes", "ago", "10m"],
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
        'error: buildconfigs.build.openshift.io "nothing" not found in namespace elsewhere;'
        " `upwell get buildconfig -A` lists what exists\n"
    )


def test_an_empty_list_says_so_on_stderr_only(upwell: Upwell) -> None:
    result = upwell("get", "routes")

    assert (result.exit_code, result.stdout) == (0, "")
    assert "no objects found in namespace default" in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("get", "gadgets"),
        *(
            ("get", "bc", "-l", text)
            for text in ("x,", "a=b=c", "a===b", "!a=b", "a=-b", "A B/c=d")
        ),
        *(("get", "bc", "-l", text) for text in ("a in b", "a in (b c)", "a between (b)", "!!a")),
    ],
)
def test_a_wrong_kind_or_selector_is_a_usage_error(
    upwell: Upwell, arguments: tuple[str, ...]
) -> None:
    assert upwell(*arguments).exit_code == 2


@pytest.mark.parametrize(
    ("kind", "hint"),
    [
        ("deploymnts", "unknown kind 'deploymnts'; did you mean deployments?"),
        ("BuildConfg", "did you mean buildconfig?"),
        ("gadgets", "kinds of every day are deployment, "),
    ],
)
def test_an_unknown_kind_is_told_what_was_meant(upwell: Upwell, kind: str, hint: str) -> None:
    assert hint in " ".join(upwell("get", kind).stderr.split())


def test_a_selector_narrows_the_list(upwell: Upwell) -> None:
    some = upwell("get", "builds", "-l", "openshift.io/build-config.name=shop", "-o", "name")
    none = upwell("get", "builds", "-l", "openshift.io/build-config.name=gate", "-o", "name")

    assert len(some.stdout.split()) == 2
    assert none.stdout == ""


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


async def test_describe_lists_events_in_the_order_in_which_they_happened(
    upwell: Upwell, client: "FakeClient"
) -> None:
    for name, reason in (("z", "First"), ("m", "Second"), ("a", "Third")):
        await client.put(
            {
                "apiVersion": "v1",
                "kind": "Event",
                "metadata": {"name": name, "namespace": "default"},
                "involvedObject": {"kind": "Deployment", "name": "shop", "namespace": "default"},
                "reason": reason,
                "lastTimestamp": "2026-03-01T12:00:00Z",
            }
        )

    shown = (await asyncio.to_thread(upwell, "describe", "deployment/shop")).stdout

    events = shown.partition("Events:")[2]
    assert [word for word in events.split() if word in {"First", "Second", "Third"}] == [
        "First",
        "Second",
        "Third",
    ]


REFUSED = "image x.test/app does not satisfy ClusterImagePolicy vendor"


@pytest.fixture
async def refused(client: "FakeClient") -> None:
    """Put a policy, with an Event in the namespace of an image that it refuses."""
    about = {"kind": "ClusterImagePolicy", "name": "vendor", "namespace": "shop"}
    for document in (
        {"apiVersion": "config.openshift.io/v1", "kind": "ClusterImagePolicy"},
        {
            "apiVersion": "v1",
            "kind": "Event",
            "involvedObject": about,
            "reason": "ImageRefused",
            "message": REFUSED,
        },
    ):
        where = {"namespace": "shop"} if document["kind"] == "Event" else {}
        await client.put({**document, "metadata": {"name": "vendor", **where}})


@pytest.mark.usefixtures("refused")
def test_describe_a_cluster_s_policy_lists_the_events_of_all_namespaces(upwell: Upwell) -> None:
    done = upwell("describe", "clusterimagepolicy/vendor")
    assert REFUSED in done.stdout
    assert done.stderr == ""


@pytest.mark.usefixtures("refused")
async def test_who_cannot_read_the_events_of_all_namespaces_is_told(
    upwell: Upwell, client: "FakeClient", monkeypatch: pytest.MonkeyPatch
) -> None:
    listing = client.list

    async def list_own(kind: Any, *where: Any) -> Any:
        if kind is Event and not where[0].namespace:
            raise StoreForbiddenError("token ci may not list events in all namespaces")
        return await listing(kind, *where)

    monkeypatch.setattr(client, "list", list_own)
    done = await asyncio.to_thread(upwell, "describe", "clusterimagepolicy/vendor")
    assert (done.exit_code, REFUSED in done.stdout) == (0, False)
    assert "showing events of namespace default only" in done.stderr


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
    assert listed[1].split()[:3] == ["shop", "NotServed", "shop"]


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
    assert "job.batch/load" in (await asyncio.to_thread(upwell, "get", "all", "-o", "name")).stdout


async def test_describe_a_build_shows_the_commit_that_it_shall_have(
    upwell: Upwell, client: "FakeClient"
) -> None:
    revision = {"type": "Git", "git": {"commit": "c0ffee"}}
    document = {
        "apiVersion": "build.openshift.io/v1",
        "kind": "Build",
        "metadata": {"namespace": "default", "name": "asked-1"},
        "spec": {"revision": revision},
    }
    await client.put(document)

    text = (await asyncio.to_thread(upwell, "describe", "build/asked-1")).stdout

    assert ["Commit:", "c0ffee"] in [line.split() for line in text.splitlines()]


def test_describe_shows_what_a_quota_has_left_and_an_account_may(upwell: Upwell) -> None:
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "team"},
        "spec": {"hard": {"pods": "5", "secrets": "9"}},
        "status": {"used": {"pods": "2"}},
    }
    account = {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": "ci", "annotations": {"upwell.dev/grants": "builder@shop"}},
    }
    for one in (quota, account):
        assert upwell("apply", "-f", "-", stdin=json.dumps(one)).exit_code == 0

    lines = [line.split() for line in upwell("describe", "quota/team").stdout.splitlines()]
    assert ["RESOURCE", "USED", "HARD"] in lines
    assert ["secrets", "-", "9"] in lines
    assert "Grants: builder@shop" in " ".join(upwell("describe", "sa/ci").stdout.split())
    assert "{" not in upwell("get", "quota").stdout


async def test_describe_a_pod_shows_how_its_containers_ended_last(
    upwell: Upwell, client: "FakeClient"
) -> None:
    end = {"exitCode": 137, "reason": "OOMKilled", "finishedAt": "2026-03-01T11:59:00Z"}
    status = {
        "name": "web",
        "ready": True,
        "restartCount": 2,
        "state": {"running": {"startedAt": "2026-03-01T11:59:30Z"}},
        "lastState": {"terminated": end},
    }
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "web-1", "namespace": "default"},
        "spec": {"containers": [{"name": "web", "image": "a"}]},
        "status": {"containerStatuses": [status]},
    }
    await client.put(pod)
    shown = (await asyncio.to_thread(upwell, "describe", "pod/web-1")).stdout
    [row] = [line.split() for line in shown.splitlines() if line.split()[:1] == ["web"]]
    last = ["OOMKilled", "(exit", "code", "137),", "6m"]
    assert row == ["web", "yes", "Running", "5m30s", "2", *last]
