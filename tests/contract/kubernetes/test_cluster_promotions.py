"""Promotions from stage to stage of a real API server, whose own controllers roll out and test."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.support.cluster.workloads import NAMESPACE, image, manifest, move_tag
from tests.support.kubernetes.cluster import KitCluster
from tests.support.kubernetes.namespaces import given_namespace, leave_empty
from tests.support.kubernetes.opened import now, opened_cluster
from tests.support.kubernetes.played_node import PlayedNode
from tests.support.outbound.dialers import loopback_dialer
from tests.support.promotion.release_images import NoLookups
from tests.support.workload.waiting import eventually

from upwell.api.apps import TRIGGERS_ANNOTATION, Deployment
from upwell.api.codec import decode_as
from upwell.api.pipeline import Pipeline
from upwell.api.promotion import Promotion
from upwell.app.kubernetes.wiring import cluster_controllers, cluster_records
from upwell.cluster.kubernetes_instances import KubernetesInstances
from upwell.controller import ObjectCache
from upwell.policy.waves.budget import NO_BUDGET
from upwell.reconcilers.authority import UNASKED
from upwell.reconcilers.builds.index import BuildIndex
from upwell.reconcilers.promotion.cluster_instances import ClusterStageInstances
from upwell.reconcilers.promotion.instances import CheckRuntime
from upwell.reconcilers.promotion.pipelines import StoredWorkloads
from upwell.reconcilers.promotion.placing.cluster import ClusterRollouts
from upwell.reconcilers.promotion.placing.workloads import Workloads
from upwell.reconcilers.promotion.promotions import PromotionReconciler
from upwell.reconcilers.promotion.verification import StageVerification
from upwell.reconcilers.promotion.wiring import pipeline_controller, promotion_controller
from upwell.reconcilers.rollouts.index import WorkloadIndex
from upwell.reconcilers.signatures.policies import UNRESTRICTED
from upwell.reconcilers.waves.gate import WaveGate
from upwell.store.interface import NotFoundError
from upwell.store.kubernetes import KubernetesStore
from upwell.uploads.files import FileInputs
from upwell.verification.network import NetworkProbes

STAGES = ("dev", "production")


@dataclass(frozen=True)
class PromotedShop:
    """A Pipeline from dev to production on a cluster."""

    store: KubernetesStore
    node: PlayedNode
    cluster: KitCluster

    async def promotion(self, name: str) -> Promotion | None:
        with suppress(NotFoundError):
            return await self.store.get(Promotion, NAMESPACE, name)
        return None

    async def ends(self, name: str, phase: str) -> Promotion:
        """Wait until a promotion has ended so."""

        async def look() -> Promotion | None:
            return await self.promotion(name)

        found = await eventually(look, lambda one: one is not None and one.status.phase.is_final)
        assert found is not None
        assert found.status.phase == phase, found.status.message
        return found

    def gives_up_soon(self, name: str) -> None:
        """Let a Deployment be stuck after seconds from now on, which are enough to put back."""
        patch = json.dumps({"spec": {"progressDeadlineSeconds": 5}})
        web = ("-n", NAMESPACE, "patch", "deployment", name)
        self.cluster.kubectl(*web, "--type=merge", "-p", patch)

    async def running(self) -> dict[str, str]:
        """Return the image of each stage's Deployment."""
        found = {one: await self.store.get(Deployment, NAMESPACE, one) for one in STAGES}
        return {name: one.spec.template.spec.containers[0].image for name, one in found.items()}


def declared(name: str) -> dict[str, Any]:
    """Return the Deployment of a stage as a person writes it, without a trigger."""
    document = manifest(Deployment, name)
    del document["metadata"]["annotations"][TRIGGERS_ANNOTATION]
    return document


def pipeline() -> Pipeline:
    check = {"name": "smoke", "job": {"component": "app", "command": ["test"]}}
    dev: dict[str, Any] = {"name": "dev", "workloads": [{"name": "dev"}]}
    production = {"name": "production", "workloads": [{"name": "production"}]}
    source = {"name": "app", "from": {"kind": "ImageStreamTag", "name": "app:latest"}}
    document = {
        "metadata": {"name": "shop", "namespace": NAMESPACE},
        "spec": {
            "components": [source],
            "stages": [{**dev, "verification": {"checks": [check]}}, production],
        },
    }
    return decode_as(Pipeline, document)


@pytest.fixture
async def shop(cluster: KitCluster, tmp_path: Path) -> AsyncIterator[PromotedShop]:
    """Give what promotes on a cluster, with a node that the test plays."""
    async with (
        cluster.client() as store,
        NetworkProbes.open("1.2.3", loopback_dialer()) as probes,
    ):
        await given_namespace(store, NAMESPACE)
        opened = opened_cluster(store)
        seen = opened.store
        cache = ObjectCache(seen)
        builds, index = BuildIndex(cache), WorkloadIndex(cache)
        api = store.connection
        records = cluster_records(opened, UNASKED, UNRESTRICTED)
        rollouts = ClusterRollouts(records.cluster, now)
        instances = ClusterStageInstances(KubernetesInstances(api), now())
        runtime = CheckRuntime.of_server(seen, instances)
        evidence = FileInputs(tmp_path / "evidence", limit_bytes=1000)
        verification = StageVerification(seen, runtime, probes, evidence, lambda *_: "", now)
        placer = Workloads(StoredWorkloads(seen), rollouts, index.all_stages_of)
        promotions = PromotionReconciler(seen, NoLookups(), placer, verification, now)
        node = PlayedNode(api, store, NAMESPACE)
        controllers = (
            *cluster_controllers(opened, records, index, WaveGate(builds, now), NO_BUDGET),
            pipeline_controller(index, builds, now, obstacle=rollouts.obstacle),
            promotion_controller(index, promotions),
        )
        followed = [pods.run for pods in records.cluster.pods.values()]
        loops = [cache.run, node.run, *followed, *(one.run for one in controllers)]
        running = [asyncio.create_task(run()) for run in loops]
        try:
            yield PromotedShop(store, node, cluster)
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
            await leave_empty(store, NAMESPACE)


async def test_a_base_goes_to_production_by_a_job_and_what_fails_stays_behind(
    shop: PromotedShop,
) -> None:
    for stage in STAGES:
        shop.cluster.kubectl("apply", "-f", "-", given=json.dumps(declared(stage)))
    await shop.store.create(pipeline())

    await move_tag(shop.store, "good")
    await shop.ends("shop-1.production", "Succeeded")
    assert await shop.running() == {"dev": image("good"), "production": image("good")}
    assert shop.node.ended == [image("good")]

    shop.node.failing.add(image("bad"))
    await move_tag(shop.store, "bad")
    failed = await shop.ends("shop-2.dev", "Failed")
    assert "exit code 1" in failed.status.message
    assert "shop-1 was restored" in failed.status.message

    shop.gives_up_soon("dev")
    shop.node.unready.add(image("worse"))
    await move_tag(shop.store, "worse")
    failed = await shop.ends("shop-3.dev", "Failed")
    assert "no progress for 5 s" in failed.status.message
    assert "shop-1 was restored" in failed.status.message
    assert await shop.running() == {"dev": image("good"), "production": image("good")}
    assert shop.node.ended == [image("good"), image("bad")]
    for name in ("shop-2.production", "shop-3.production"):
        assert await shop.promotion(name) is None
