"""RunningWorkloads at the API: who sees which, what they stand on, and pages."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.cluster.images import build, described, digest, stream
from tests.support.cluster.memory_cluster import MemoryClusterPods
from tests.support.cluster.workloads import NAMESPACE, manifest
from tests.support.registry.memory import RegistryInMemory
from tests.support.server.granted_api import GrantedApi, open_granted_api
from tests.support.server.memory_actions import MemoryActions
from tests.support.workload.waiting import eventually

from upwell.actions.running import RunningActions
from upwell.api.apps import Deployment, DeploymentConfig
from upwell.api.codec import decode_as
from upwell.cluster.interface import PodContainer, PodRecord
from upwell.oci import Platform
from upwell.reconcilers.cluster_rollouts.pods import PodIndex
from upwell.reconcilers.images.layers import LayerReader
from upwell.reconcilers.images.pull_secrets import PullSecrets
from upwell.reconcilers.rollouts.index import WorkloadIndex

ALL = "/apis/upwell.dev/v1alpha1/runningworkloads"
SHOP = f"/apis/upwell.dev/v1alpha1/namespaces/{NAMESPACE}/runningworkloads"


def pod(name: str, owner: str, *images: str, namespace: str = NAMESPACE, **more: Any) -> PodRecord:
    containers = tuple(
        PodContainer(f"c{at}", f"registry.test/{one}:1", digest(one))
        for at, one in enumerate(images)
    )
    kind, node = more.get("kind", "Deployment"), more.get("node", "one")
    return PodRecord(namespace, name, kind, owner, node, ready=True, containers=containers)


PODS = (
    pod("a", "legacy", "a1", "sidecar"),
    pod("b", "legacy", "a1", node="two"),
    pod("c", "web", "d3"),
    pod("d", "key", "d1", namespace="vault"),
    pod("e", "app-1", "d1", kind="Build"),
    pod("f", "front", "d3", kind="DeploymentConfig"),
)


@pytest.fixture
async def pods() -> MemoryClusterPods:
    found = MemoryClusterPods()
    for one in PODS:
        await found.put(one)
    return found


@pytest.fixture
async def served(tmp_path: Path, pods: MemoryClusterPods) -> AsyncIterator[GrantedApi]:
    """Serve what two namespaces run on a base of a third."""
    index, following = PodIndex(pods), list[asyncio.Task[None]]()

    def running(made: MemoryActions) -> RunningActions:
        following.append(asyncio.create_task(index.run()))
        secrets = PullSecrets(made.cache.store)
        layers = LayerReader(RegistryInMemory(), secrets, Platform("linux", "amd64"))
        return RunningActions(WorkloadIndex(made.cache), (index,), layers)

    async with open_granted_api(tmp_path, running=running) as served:
        store = served.api.store
        await store.create(decode_as(Deployment, manifest(Deployment, "web")))
        front = {"metadata": {"name": "front", "namespace": NAMESPACE}}
        await store.create(decode_as(DeploymentConfig, front))
        for one in (
            stream("base", "debian", v12=["d3", "d2", "d1"]),
            stream("shop", "app", v1=["a1"]),
            build("shop", "app-1", "a1", "d1"),
        ):
            stored = await store.create(one)
            await store.update_status(stored.with_status(one.status))
        await store.create(described("d1", "l1"))
        await served.grant("ada", f"viewer@{NAMESPACE},base")
        await served.grant("joan", f"viewer@{NAMESPACE}")
        await served.grant("grace", "viewer@*")
        yield served
        for task in following:
            task.cancel()
        await asyncio.wait(following)


async def ask(served: GrantedApi, who: str, path: str = ALL) -> list[dict[str, Any]]:
    answer = await served.send(who, "GET", path)
    assert answer.status == 200, answer.text
    return list(answer.json["items"])


def names(found: list[dict[str, Any]]) -> list[str]:
    return [f"{one['metadata']['namespace']}/{one['metadata']['name']}" for one in found]


async def test_each_client_sees_the_namespaces_that_it_may_read(served: GrantedApi) -> None:
    assert names(await ask(served, "grace")) == [
        "shop/deployment.legacy",
        "shop/deployment.web",
        "shop/deploymentconfig.front",
        "vault/deployment.key",
    ]
    assert names(await ask(served, "ada")) == [
        "shop/deployment.legacy",
        "shop/deployment.web",
        "shop/deploymentconfig.front",
    ]
    refused = await served.send("ada", "GET", SHOP.replace(NAMESPACE, "vault"))
    assert refused.status == 403


async def test_a_workload_that_nobody_gave_is_told_with_what_it_stands_on(
    served: GrantedApi,
) -> None:
    legacy, web, front = await ask(served, "ada", SHOP)

    status = legacy["status"]
    assert (status["given"], status["pods"]) == (False, 2)
    assert web["status"]["given"]
    assert front["status"]["given"]  # Upwell rolls it out itself, though it follows no tag
    app, sidecar = status["images"]
    assert (app["pods"], app["nodes"], app["behind"]) == (2, 2, 2)
    assert [(one["tag"], one["by"], one["behind"]) for one in app["ancestors"]] == [
        ("shop/app:v1", "tag", 0),
        ("base/debian:v12", "build", 2),
    ]
    assert "behind" not in sidecar
    assert "has not given its layers" in sidecar["unknown"]


async def test_streams_that_a_client_may_not_read_are_not_named(served: GrantedApi) -> None:
    answer = await served.send("joan", "GET", SHOP)

    assert "shop/app:v1" in answer.text
    assert "debian" not in answer.text
    assert digest("d3") not in str(answer.json["items"][0])


async def test_pages_follow_one_another(served: GrantedApi) -> None:
    first = await served.send("grace", "GET", f"{ALL}?limit=3")
    token = first.json["metadata"]["continue"]
    rest = await served.send("grace", "GET", f"{ALL}?limit=3&continue={token}")

    assert len(first.json["items"]) == 3
    assert names(rest.json["items"]) == ["vault/deployment.key"]
    assert "continue" not in rest.json["metadata"]


async def test_what_cannot_be_asked_is_said(served: GrantedApi) -> None:
    assert (await served.send("grace", "GET", f"{ALL}?watch=1")).status == 405
    assert (await served.send("grace", "GET", f"{ALL}?labelSelector=a%3Db")).status == 400


async def test_a_server_without_a_cluster_says_so(tmp_path: Path) -> None:
    async with open_granted_api(tmp_path) as served:
        answer = await served.send("admin", "GET", ALL)

    assert answer.status == 404
    assert "keeps no cluster" in answer.text


async def test_pods_of_a_workload_say_what_they_wait_for(
    served: GrantedApi, pods: MemoryClusterPods
) -> None:
    why = 'Back-off pulling image "nope"'
    waits = PodContainer("app", "nope", waits="ImagePullBackOff", message=why)
    await pods.put(
        PodRecord(NAMESPACE, "z", "Deployment", "web", "two", ready=False, containers=(waits,))
    )
    path = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/web/instances"

    async def seen() -> list[dict[str, Any]]:
        return await ask(served, "ada", path)

    well, stuck = await eventually(seen, lambda found: len(found) > 1)

    assert (well["name"], well["ready"], well["state"]) == ("c", True, "Running")
    assert well["message"] == ""
    assert (stuck["state"], stuck["ready"]) == ("Waiting", False)
    assert stuck["message"] == f"container app: ImagePullBackOff: {why}"
    missing = await served.send("ada", "GET", path.replace("web", "none"))
    assert missing.status == 404
    other = await served.send("joan", "GET", path.replace(NAMESPACE, "vault"))
    assert other.status == 403
