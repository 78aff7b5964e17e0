"""A DeploymentConfig on a real API server, whose own controllers and a hollow node run its Pods."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime

import pytest
from tests.support.kubernetes.cluster import KitCluster
from tests.support.kubernetes.namespaces import given_namespace
from tests.support.workload.waiting import eventually

from upwell.api.apps import DeploymentConfig
from upwell.api.codec import decode_as
from upwell.api.revisions import ReplicationController
from upwell.cluster.kubernetes import KubernetesWorkloads
from upwell.cluster.kubernetes_instances import KubernetesInstances
from upwell.cluster.kubernetes_pods import KubernetesPods
from upwell.controller import ObjectCache
from upwell.reconcilers.cluster_rollouts.deployment_configs import deployment_config_controller
from upwell.reconcilers.cluster_rollouts.parts import ClusterParts
from upwell.reconcilers.cluster_rollouts.pods import PodIndex
from upwell.store.clusters.store import ClusterStore
from upwell.store.interface import NotFoundError, Selector
from upwell.store.kubernetes import KubernetesStore

NAMESPACE = "configs"


def now() -> datetime:
    return datetime.now(UTC)


def config(image: str) -> DeploymentConfig:
    container = {"name": "app", "image": image}
    pod = {"containers": [container], "terminationGracePeriodSeconds": 1}
    template = {"metadata": {"labels": {"app": "web"}}, "spec": pod}
    spec = {"replicas": 2, "selector": {"app": "web"}, "template": template}
    return decode_as(
        DeploymentConfig, {"metadata": {"name": "web", "namespace": NAMESPACE}, "spec": spec}
    )


@pytest.fixture
async def store(hollow_cluster: KitCluster) -> AsyncIterator[KubernetesStore]:
    """Give a client of a cluster whose DeploymentConfigs are rolled out."""
    async with hollow_cluster.client() as store:
        await given_namespace(store, NAMESPACE)
        api = store.connection
        pods = PodIndex(KubernetesPods(api, NAMESPACE))
        parts = ClusterParts(KubernetesWorkloads(api, now), {NAMESPACE: pods})
        cache = ObjectCache(ClusterStore(store, frozenset({NAMESPACE})))
        controller = deployment_config_controller(cache, parts, KubernetesInstances(api), now)
        running = [asyncio.create_task(run()) for run in (cache.run, pods.run, controller.run)]
        yield store
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        with suppress(NotFoundError):
            await store.delete(DeploymentConfig, NAMESPACE, "web")


async def test_versions_roll_one_after_the_other(store: KubernetesStore) -> None:
    async def phases() -> dict[str, str]:
        found = (await store.list(ReplicationController, Selector(NAMESPACE))).items
        return {
            one.name: f"{one.annotations['openshift.io/deployment.phase']} {one.spec.replicas}"
            for one in found
        }

    await store.create(config("app:1"))
    await eventually(phases, lambda found: found == {"web-1": "Complete 2"})

    stored = await store.get(DeploymentConfig, NAMESPACE, "web")
    await store.update(stored.model_copy(update={"spec": config("app:2").spec}))
    wanted = {"web-1": "Complete 0", "web-2": "Complete 2"}
    await eventually(phases, lambda found: found == wanted)

    done = await store.get(DeploymentConfig, NAMESPACE, "web")
    assert done.status.latest_version == 2
    assert done.status.available_replicas == 2
