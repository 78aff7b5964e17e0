"""Faults of a cluster in the middle of rollouts: what is told, what is put back, what goes on."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.support.cluster.workloads import NAMESPACE, image, manifest, move_tag
from tests.support.faults.on_demand import on_demand
from tests.support.kubernetes.cluster import KitCluster
from tests.support.kubernetes.etcd import compact
from tests.support.kubernetes.fixtures import end_clusters, shared_cluster
from tests.support.kubernetes.namespaces import given_namespace, leave_empty
from tests.support.kubernetes.opened import now, opened_cluster
from tests.support.kubernetes.played_node import PlayedNode
from tests.support.kubernetes.restarts import kill_and_restart
from tests.support.kubernetes.throttling import OWN, accounts, no_seat_left, rejected
from tests.support.kubernetes.webhooks import CHANGES, REFUSES, image_webhook
from tests.support.workload.waiting import eventually

from upwell.api.apps import TRIGGERS_ANNOTATION, Deployment
from upwell.api.codec import decode_as
from upwell.api.core import Event
from upwell.api.image import ImageStream
from upwell.app.kubernetes.wiring import cluster_controllers, cluster_records
from upwell.cluster.errors import ListExpiredError
from upwell.cluster.kubernetes_pods import KubernetesPods
from upwell.controller import ObjectCache
from upwell.policy.cluster_rollouts.note import RolloutNote
from upwell.policy.waves.budget import NO_BUDGET
from upwell.reconcilers.authority import UNASKED
from upwell.reconcilers.builds.index import BuildIndex
from upwell.reconcilers.rollouts.index import WorkloadIndex
from upwell.reconcilers.signatures.policies import UNRESTRICTED
from upwell.reconcilers.waves.gate import WaveGate
from upwell.store.interface import (
    ExpiredError,
    Selector,
    StoreError,
)
from upwell.store.kubernetes import KubernetesStore
from upwell.store.kubernetes_connections import ServerAccess

DOOMED = "doomed"
WEB = ("-n", NAMESPACE, "deployment", "web")


@dataclass(frozen=True)
class TaggedDeployments:
    """A tag, and Deployments that follow it on a cluster."""

    cluster: KitCluster
    store: KubernetesStore
    node: PlayedNode
    tokens: list[str]
    """The last is the server's own."""

    async def moves(self, version: str) -> None:
        await move_tag(self.store, version)

    async def deployment(self, namespace: str = NAMESPACE) -> None:
        """Create a Deployment that runs version `good`."""
        declared = manifest(Deployment, namespace=namespace)
        annotations = declared["metadata"]["annotations"]
        triggers = json.loads(annotations[TRIGGERS_ANNOTATION])
        triggers[0]["from"]["namespace"] = NAMESPACE
        annotations[TRIGGERS_ANNOTATION] = json.dumps(triggers)
        declared["spec"]["template"]["spec"]["containers"][0]["image"] = image("good")
        await self.store.create(decode_as(Deployment, declared))

    def gives_up_soon(self) -> None:
        """Let rollouts from now on be stuck after seconds, however busy the machine is."""
        patch = json.dumps({"spec": {"progressDeadlineSeconds": 2}})
        self.cluster.kubectl("patch", *WEB, "--type=merge", "-p", patch)

    async def image_of(self, namespace: str = NAMESPACE) -> str:
        found = await self.store.get(Deployment, namespace, "web")
        return found.spec.template.spec.containers[0].image

    async def until_image(self, version: str, namespace: str = NAMESPACE) -> None:
        await eventually(lambda: self.image_of(namespace), lambda found: found == image(version))

    async def until_ready(self) -> None:
        async def ready() -> int:
            found = await self.store.get(Deployment, NAMESPACE, "web")
            return found.status.ready_replicas

        await eventually(ready, bool)

    async def until_told(self, reason: str) -> str:
        """Return the message of the Event of this reason."""

        async def messages() -> list[str]:
            found = (await self.store.list(Event, Selector(NAMESPACE))).items
            return [one.message for one in found if one.reason == reason]

        return (await eventually(messages, bool))[-1]


@pytest.fixture
async def tag(cluster: KitCluster) -> AsyncIterator[TaggedDeployments]:
    """Give a tag that stands for version `good`, and a Deployment that follows it."""
    tokens = [cluster.token]
    access = ServerAccess(cluster.base_url, token_source=lambda: tokens[-1], ca=cluster.ca)
    async with cluster.client() as store, KubernetesStore(access) as own:
        for name in (NAMESPACE, DOOMED):
            await given_namespace(store, name)
        opened = opened_cluster(own, (NAMESPACE, DOOMED))
        cache = ObjectCache(opened.store)
        records = cluster_records(opened, UNASKED, UNRESTRICTED)
        controllers = cluster_controllers(
            opened,
            records,
            WorkloadIndex(cache),
            WaveGate(BuildIndex(cache), now),
            NO_BUDGET,
        )
        node = PlayedNode(store.connection, store, NAMESPACE)
        followed = [pods.run for pods in records.cluster.pods.values()]
        loops = [cache.run, *followed, *(one.run for one in controllers)]
        running = [asyncio.create_task(run()) for run in loops]
        playing = asyncio.create_task(node.run())
        found = TaggedDeployments(cluster, store, node, tokens)
        try:
            await found.moves("good")
            await found.deployment()
            await found.until_ready()
            yield found
            assert not any(task.done() for task in running)
        finally:
            for task in (*running, playing):
                task.cancel()
            await asyncio.gather(*running, playing, return_exceptions=True)
            for name in (NAMESPACE, DOOMED):
                await leave_empty(store, name)


async def test_a_quota_that_keeps_pods_away_is_named_and_the_image_put_back(
    tag: TaggedDeployments,
) -> None:
    quota = ("-n", NAMESPACE, "create", "quota", "few", "--hard=pods=1")
    tag.cluster.kubectl(*quota)
    try:
        used = ("-n", NAMESPACE, "get", "quota", "few", "-o", "jsonpath={.status.used.pods}")

        async def measured() -> str:
            return tag.cluster.kubectl(*used)

        await eventually(measured, lambda found: found == "1")
        tag.gives_up_soon()
        await tag.moves("better")
        assert "exceeded quota: few" in await tag.until_told("RolledBack")
        assert await tag.image_of() == image("good")
    finally:
        tag.cluster.kubectl("-n", NAMESPACE, "delete", "quota", "few")


async def test_the_words_of_a_webhook_that_refuses_are_told(
    tag: TaggedDeployments, tmp_path: Path
) -> None:
    with image_webhook(tag.cluster, tmp_path, REFUSES, WEB, image("better")):
        await tag.moves("better")
        told = await tag.until_told("Refused")
    assert "images need the approval of the security team" in told
    assert await tag.image_of() == image("good")
    await tag.moves("best")
    await tag.until_image("best")


async def test_an_image_that_a_webhook_changes_is_left_as_it_is(
    tag: TaggedDeployments, tmp_path: Path
) -> None:
    with image_webhook(tag.cluster, tmp_path, CHANGES, WEB, image("better"), image("mirrored")):
        await tag.moves("better")
        assert "admission changed app" in await tag.until_told("ChangedAtAdmission")
    assert await tag.image_of() == image("mirrored")


async def test_a_namespace_that_goes_in_mid_rollout_holds_up_nobody_else_and_leaves_nothing(
    tag: TaggedDeployments,
) -> None:
    await tag.deployment(DOOMED)
    await tag.moves("better")
    await tag.until_image("better", DOOMED)  # no Pod of it ever gets ready
    tag.cluster.kubectl("delete", "namespace", DOOMED, "--wait=false")
    await tag.moves("best")
    await tag.until_image("best")
    await given_namespace(tag.store, DOOMED)
    await tag.deployment(DOOMED)
    await tag.until_image("best", DOOMED)
    again = RolloutNote.of(await tag.store.get(Deployment, DOOMED, "web"))
    assert (again.images, again.failed) == ({"app": image("best")}, {})


async def test_a_token_that_has_expired_is_read_again(tag: TaggedDeployments) -> None:
    tag.tokens.append("expired")
    await tag.moves("better")
    await tag.until_ready()
    tag.tokens.append(tag.cluster.token)
    await tag.until_image("better")


async def test_a_busy_api_server_is_asked_again_when_it_says(tag: TaggedDeployments) -> None:
    with accounts(tag.cluster, NAMESPACE) as (own, other):
        tag.tokens.append(own)
        async with no_seat_left(tag.cluster, NAMESPACE, other):
            await tag.moves("better")
            await eventually(lambda: asyncio.to_thread(rejected, tag.cluster, OWN), bool)
        await tag.until_image("better")
        tag.tokens.append(tag.cluster.token)


async def test_an_api_server_and_an_etcd_that_die_and_forget_lose_nothing(
    tag: TaggedDeployments,
) -> None:
    known = (await tag.store.list(Deployment, Selector(NAMESPACE))).resource_version
    tag.cluster.kubectl("label", "namespace", NAMESPACE, "written=since", "--overwrite")
    await asyncio.to_thread(compact, tag.cluster)
    await tag.moves("better")
    await asyncio.to_thread(kill_and_restart, tag.cluster, "etcd", "kube-apiserver")

    async def answers() -> bool:
        with suppress(StoreError):  # it serves our own kinds some time after its own
            await tag.store.get(ImageStream, NAMESPACE, "app")
            return bool(await tag.image_of())
        return False

    await eventually(answers, bool)
    with pytest.raises(ExpiredError):  # 410 Gone
        await anext(tag.store.watch(Deployment, Selector(NAMESPACE), since=known))
    with pytest.raises(ListExpiredError):
        await anext(KubernetesPods(tag.store.connection, NAMESPACE).watch(known))
    await tag.until_image("better")
    await tag.moves("best")
    await tag.until_image("best")


@on_demand(
    "tests/contract/kubernetes/test_cluster_faults.py"
    "::test_an_api_server_and_an_etcd_that_die_and_forget_lose_nothing"
)
def test_a_shared_cluster_that_a_test_has_left_dead_is_started_anew(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    config = pytest.Config.fromdictargs({}, [])  # whose clusters are not those of other tests
    given = contextmanager(shared_cluster)
    with ExitStack() as ends:
        ends.callback(end_clusters, config)
        with given("none", config, tmp_path_factory) as first:
            assert first.is_ready()
        with given("none", config, tmp_path_factory) as again:
            assert again is first
        os.kill(int((first.folder / "pids/etcd.pid").read_text()), signal.SIGKILL)
        with given("none", config, tmp_path_factory) as anew:
            assert anew.base_url != first.base_url
            assert anew.is_ready()
