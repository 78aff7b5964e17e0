"""Pods read from an API server: pages, bookmarks, positions that expire, and their records."""

import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

import pytest

from upwell.cluster import kubernetes_pods
from upwell.cluster.errors import ListExpiredError
from upwell.cluster.interface import PodContainer
from upwell.cluster.kubernetes_pods import KubernetesPods
from upwell.oci import Digest
from upwell.store.interface import ExpiredError
from upwell.store.kubernetes_connections import ServerAccess
from upwell.store.kubernetes_http import ApiConnection, ApiRequest, ApiResponse

DIGEST = str(Digest.of(b"one"))


class ScriptedConnection(ApiConnection):
    """Answers what a test says, and keeps what was asked."""

    def __init__(self, pages: Sequence[dict[str, Any] | Exception], lines: Sequence[Any]) -> None:
        super().__init__(ServerAccess("http://127.0.0.1:1"))
        self._pages = iter(pages)
        self._lines = lines
        self.asked: list[dict[str, str]] = []

    async def ask(self, request: ApiRequest) -> ApiResponse:
        self.asked.append(dict(request.params))
        page = next(self._pages)
        if isinstance(page, Exception):
            raise page
        return ApiResponse(page, [])

    async def lines(self, request: ApiRequest) -> AsyncGenerator[bytes]:
        self.asked.append(dict(request.params))
        for line in self._lines:
            yield json.dumps(line).encode()


REACHED = {"metadata": {"resourceVersion": "11"}}
"""Answer to how far the server is."""


def document(
    name: str = "a", owner: tuple[str, str] = ("StatefulSet", "web"), **parts: Any
) -> dict[str, Any]:
    reference = {"kind": owner[0], "name": owner[1], "controller": True}
    meta = {"namespace": "shop", "name": name, "ownerReferences": [reference]}
    return {
        "metadata": {**meta, "resourceVersion": "7", **parts.pop("metadata", {})},
        "spec": {"nodeName": "n", "containers": [{"name": "app", "image": "app:1"}]},
        **parts,
    }


def page(*names: str, following: str = "") -> dict[str, Any]:
    return {
        "metadata": {"resourceVersion": "5", "continue": following},
        "items": [document(name) for name in names],
    }


async def record(found: dict[str, Any]) -> Any:
    pods, _ = await KubernetesPods(
        ScriptedConnection([{"metadata": {"resourceVersion": "1"}, "items": [found]}], [])
    ).list()
    return pods[0]


async def test_a_list_is_read_page_by_page() -> None:
    api = ScriptedConnection([page("a", "b", following="more"), page("c")], [])

    pods, position = await KubernetesPods(api, page=2).list()

    assert ([one.name for one in pods], position) == (["a", "b", "c"], "5")
    assert api.asked == [{"limit": "2"}, {"limit": "2", "continue": "more"}]


async def test_a_list_that_expires_between_pages_says_so() -> None:
    api = ScriptedConnection([page("a", following="more"), ExpiredError("5")], [])

    with pytest.raises(ListExpiredError):
        await KubernetesPods(api).list()


async def test_a_watch_gives_changes_and_bookmarks_with_their_positions() -> None:
    bookmark = {"metadata": {"resourceVersion": "9"}}
    lines = [
        {"type": "MODIFIED", "object": document()},
        {"type": "BOOKMARK", "object": bookmark},
        {"type": "DELETED", "object": document(metadata={"resourceVersion": "11"})},
    ]

    async with aclosing(KubernetesPods(ScriptedConnection([REACHED], lines)).watch("5")) as changes:
        seen = [(change and (change.pod.name, change.gone), at) async for change, at in changes]

    assert seen == [(("a", False), "7"), (None, "9"), (("a", True), "11")]


async def test_a_watch_from_a_forgotten_position_says_so() -> None:
    gone = {"type": "ERROR", "object": {"kind": "Status", "code": 410, "message": "too old"}}

    async with aclosing(
        KubernetesPods(ScriptedConnection([REACHED], [gone])).watch("5")
    ) as changes:
        with pytest.raises(ListExpiredError):
            await anext(changes)


@pytest.mark.parametrize(
    ("owner", "labels", "workload"),
    [
        (("ReplicaSet", "web-5d9"), {"pod-template-hash": "5d9"}, ("Deployment", "web")),
        (("ReplicaSet", "web-5d9"), {}, ("ReplicaSet", "web-5d9")),
        (("DaemonSet", "agent"), {}, ("DaemonSet", "agent")),
        (("Job", "report-29408640"), {}, ("CronJob", "report")),
        (("Job", "report-1764547200"), {}, ("CronJob", "report")),
        (("Job", "report-20261130"), {}, ("Job", "report-20261130")),
        (("Job", "report"), {}, ("Job", "report")),
    ],
)
async def test_a_pod_belongs_to_the_workload_above_its_owner(
    owner: tuple[str, str], labels: dict[str, str], workload: tuple[str, str]
) -> None:
    found = await record(document(owner=owner, metadata={"labels": labels}))

    assert (found.owner_kind, found.owner) == workload


async def test_a_pod_of_nobody_is_its_own_workload() -> None:
    found = await record(document(metadata={"ownerReferences": None}))

    assert (found.owner_kind, found.owner) == ("Pod", "a")


@pytest.mark.parametrize(
    ("image_id", "digest"),
    [
        (f"registry.test/app@{DIGEST}", DIGEST),
        (f"docker-pullable://registry.test/app@{DIGEST}", DIGEST),
        (DIGEST, ""),
        ("", ""),
    ],
)
async def test_the_digest_of_a_manifest_is_what_runs(image_id: str, digest: str) -> None:
    status = {"containerStatuses": [{"name": "app", "imageID": image_id, "state": {"running": {}}}]}

    found = await record(document(status=status))

    assert found.containers == (PodContainer("app", "app:1", digest),)


async def test_a_container_that_crashes_says_how_it_ended() -> None:
    status = {
        "initContainerStatuses": [
            {
                "name": "app",
                "restartCount": 4,
                "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 40s"}},
                "lastState": {"terminated": {"exitCode": 2, "reason": "Error"}},
            }
        ]
    }

    found = await record(document(status=status))

    assert found.containers == (
        PodContainer("app", "app:1", "", "CrashLoopBackOff", "exit status 2 (Error)", 4),
    )


async def test_ephemeral_containers_count_too() -> None:
    found = await record(
        document(
            spec={"ephemeralContainers": [{"name": "debug", "image": "tools:1"}]},
            status={"ephemeralContainerStatuses": [{"name": "debug", "imageID": f"t@{DIGEST}"}]},
        )
    )

    assert [(one.name, one.digest) for one in found.containers] == [("debug", DIGEST)]


async def test_equal_containers_are_kept_once() -> None:
    pods, _ = await KubernetesPods(ScriptedConnection([page("a", "b")], [])).list()

    assert pods[0].containers is pods[1].containers


async def test_what_crashes_again_and_again_takes_no_more_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(kubernetes_pods, "_MOST_KNOWN", 10)
    said = {"waiting": {"reason": "CrashLoopBackOff", "message": "x" * 5000}}
    lines = [
        {
            "type": "MODIFIED",
            "object": document(
                status={"containerStatuses": [{"name": "app", "restartCount": n, "state": said}]}
            ),
        }
        for n in range(100)
    ]
    pods = KubernetesPods(ScriptedConnection([REACHED], lines))

    async with aclosing(pods.watch("5")) as changes:
        seen = [change async for change, _ in changes if change is not None]

    assert [one.pod.containers[0].restarts for one in seen] == list(range(100))
    assert len(seen[-1].pod.containers[0].message) == 1000
    assert len(pods._known) <= 10
