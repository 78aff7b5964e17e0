"""Stages of a cluster whose workload is a DeploymentConfig: Upwell rolls that out itself."""

import json

import pytest
from tests.support.cluster.memory_cluster import MemoryInstances
from tests.support.cluster.replication import PlayedReplication
from tests.support.promotion.cluster_pipeline import ClusterPipeline
from tests.support.promotion.reconciled_pipeline import NAMESPACE, image

from upwell.api.apps import DeploymentConfig
from upwell.api.codec import decode_as
from upwell.api.meta import ObjectKey
from upwell.api.revisions import ReplicationController
from upwell.controller import ObjectCache
from upwell.policy.rollouts.image_ownership import PROMOTED_ANNOTATION
from upwell.policy.rollouts.settings import template_of
from upwell.reconcilers.cluster_rollouts.deployment_configs import ClusterDeploymentConfigs
from upwell.store.interface import Selector

KEY = ObjectKey("DeploymentConfig", NAMESPACE, "web")


class ConfigStage:
    """A Pipeline on a cluster with stages `dev`, a DeploymentConfig, and `production`."""

    def __init__(self) -> None:
        self.pipelines = ClusterPipeline()
        self.store = self.pipelines.store
        self.instances = MemoryInstances()
        self.played = PlayedReplication(self.store, self.instances, NAMESPACE)
        self.cache = ObjectCache(self.store)
        self.configs = ClusterDeploymentConfigs(
            self.cache, self.pipelines.parts, self.instances, self.pipelines.clock
        )

    async def begin(self) -> None:
        container = {"name": "web", "image": " ", "readinessProbe": {"tcpSocket": {"port": 80}}}
        template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [container]}}
        spec = {"replicas": 2, "selector": {"app": "web"}, "template": template}
        metadata = {"namespace": NAMESPACE, "name": "web"}
        await self.store.create(decode_as(DeploymentConfig, {"metadata": metadata, "spec": spec}))
        workload = {"kind": "DeploymentConfig", "name": "web"}
        dev = {"name": "dev", "workloads": [workload]}
        await self.pipelines.pipeline(dev, {"name": "production"})

    async def settle(self) -> None:
        """Let promotions and rollouts go on for a while."""
        for _ in range(15):
            await self.pipelines.settle()
            await self.cache.ready(ReplicationController)
            await self.configs.reconcile(KEY)
            await self.played.step(self.pipelines.clock())
            self.pipelines.clock.advance(2)

    async def config(self) -> DeploymentConfig:
        return await self.store.get(DeploymentConfig, NAMESPACE, "web")


@pytest.fixture
async def stage() -> ConfigStage:
    """A stage that has its first Release."""
    made = ConfigStage()
    await made.begin()
    await made.pipelines.push("one")
    await made.settle()
    return made


async def test_a_release_goes_through_a_config_to_the_next_stage(stage: ConfigStage) -> None:
    await stage.pipelines.push("two")
    await stage.settle()

    phases = await stage.pipelines.phases()
    assert (phases["shop-2.dev"], phases["shop-2.production"]) == ("Succeeded", "Succeeded")
    config = await stage.config()
    assert template_of(config).spec.containers[0].image == image("two")
    assert json.loads(config.annotations[PROMOTED_ANNOTATION])["release"] == "shop-2"
    sizes = {
        one.name: one.spec.replicas
        for one in (await stage.store.list(ReplicationController, Selector(NAMESPACE))).items
    }
    assert sizes["web-2"] == 2


async def test_a_release_that_a_config_cannot_run_is_put_back_and_goes_no_further(
    stage: ConfigStage,
) -> None:
    stage.played.broken = frozenset({image("bad")})
    await stage.pipelines.push("bad")
    await stage.settle()

    phases = await stage.pipelines.phases()
    assert phases["shop-2.dev"] == "Failed"
    assert "shop-2.production" not in phases
    config = await stage.config()
    assert template_of(config).spec.containers[0].image == image("one")
