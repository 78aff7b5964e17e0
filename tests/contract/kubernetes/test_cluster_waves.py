"""A Wave on a real API server, whose own controllers roll out: one goes first, then the others."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from tests.support.cluster.workloads import NAMESPACE, manifest
from tests.support.kubernetes.cluster import KitCluster
from tests.support.kubernetes.namespaces import given_namespace, leave_empty
from tests.support.kubernetes.opened import now, opened_cluster
from tests.support.kubernetes.played_node import PlayedNode
from tests.support.waves.fleet import IMAGE, debian, with_import
from tests.support.workload.waiting import eventually

from upwell.api.apps import Deployment
from upwell.api.codec import decode_as
from upwell.api.image import ImageStream
from upwell.api.waves.wave import CanaryState, Wave, WavePhase
from upwell.app.kubernetes.wiring import cluster_controllers, cluster_records
from upwell.controller import ObjectCache
from upwell.policy.cluster_rollouts.note import RolloutNote
from upwell.policy.waves.budget import RolloutBudget
from upwell.policy.waves.canary import CanaryRules
from upwell.policy.waves.progress import WaveRules
from upwell.reconcilers.authority import UNASKED
from upwell.reconcilers.builds.index import BuildIndex
from upwell.reconcilers.rollouts.index import WorkloadIndex
from upwell.reconcilers.signatures.policies import UNRESTRICTED
from upwell.reconcilers.waves.gate import WaveGate
from upwell.reconcilers.waves.index import WaveIndex
from upwell.reconcilers.waves.waves import wave_controller
from upwell.store.interface import Store
from upwell.store.kubernetes import KubernetesStore

NAMES = ("one", "two", "three")
RULES = WaveRules(CanaryRules(0.1, timedelta(seconds=1)))


@pytest.fixture
async def store(cluster: KitCluster) -> AsyncIterator[KubernetesStore]:
    """Give a client of a cluster whose workloads follow Waves, one rollout at a time."""
    async with cluster.client() as store:
        await given_namespace(store, NAMESPACE)
        opened = opened_cluster(store)
        cache = ObjectCache(opened.store)
        builds = BuildIndex(cache)
        records = cluster_records(opened, UNASKED, UNRESTRICTED)
        gate = WaveGate(builds, now, canaries=True)
        waves = WaveIndex(builds, records.of)
        elapsed = asyncio.get_running_loop().time
        node = PlayedNode(store.connection, store, NAMESPACE)
        node.unready.add(debian("bad"))
        controllers = (
            *cluster_controllers(
                opened, records, WorkloadIndex(cache), gate, RolloutBudget(at_once=1)
            ),
            wave_controller(waves, now, elapsed, RULES),
        )
        followed = [pods.run for pods in records.cluster.pods.values()]
        loops = [cache.run, *followed, node.run, *(one.run for one in controllers)]
        running = [asyncio.create_task(run()) for run in loops]
        try:
            yield store
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
            await leave_empty(store, NAMESPACE)


async def deployment(store: Store, name: str) -> None:
    """Create a Deployment that runs the old image and follows the stream of it."""
    declared = manifest(Deployment, name)
    annotations = declared["metadata"]["annotations"]
    for trigger, text in annotations.items():
        annotations[trigger] = text.replace("app:latest", "debian:latest")
    declared["spec"]["template"]["spec"]["containers"][0]["image"] = debian("old")
    await store.create(decode_as(Deployment, declared))


async def imports(store: Store, mark: str) -> None:
    """Let the stream have imported another image."""
    stream = await store.get(ImageStream, NAMESPACE, "debian")
    await store.update_status(stream.with_status(with_import(stream, mark, now())))


async def deployments(store: Store) -> list[Deployment]:
    return [await store.get(Deployment, NAMESPACE, name) for name in NAMES]


async def wave_of(store: Store, mark: str) -> Wave | None:
    digest = debian(mark).partition("@")[2]
    return next((one for one in (await store.list(Wave)).items if one.spec.digest == digest), None)


def canary_state(wave: Wave | None) -> CanaryState | None:
    canary = None if wave is None else wave.status.canary
    return None if canary is None else canary.state


def images(found: list[Deployment]) -> set[str]:
    return {one.spec.template.spec.containers[0].image for one in found}


async def test_one_goes_first_then_the_others_and_what_fails_reaches_nobody_else(
    store: KubernetesStore, cluster: KitCluster
) -> None:
    source = {"kind": "DockerImage", "name": IMAGE}
    tag = {"name": "latest", "from": source, "importPolicy": {"scheduled": True}}
    metadata = {"name": "debian", "namespace": NAMESPACE}
    await store.create(decode_as(ImageStream, {"metadata": metadata, "spec": {"tags": [tag]}}))
    await imports(store, "old")
    for name in NAMES:
        await deployment(store, name)
    await eventually(
        lambda: deployments(store), lambda found: all(one.status.ready_replicas for one in found)
    )

    await imports(store, "new")
    wave = await eventually(
        lambda: wave_of(store, "new"),
        lambda one: one is not None and one.status.phase is WavePhase.COMPLETE,
    )
    assert images(await deployments(store)) == {debian("new")}
    assert wave is not None
    assert wave.status.canary is not None
    [first] = [one.name for one in wave.status.canary.workloads]
    begun = {one.name: RolloutNote.of(one).since for one in await deployments(store)}
    others = [since for name, since in begun.items() if name != first and since is not None]
    since = begun[first]
    assert since is not None
    assert since < min(others), "the first has been healthy before others began"
    assert len({*others}) == len(others), "one after the other"

    patch = json.dumps({"spec": {"progressDeadlineSeconds": 2}})  # what is good may take its time
    deployment_names = [f"deployment/{name}" for name in NAMES]
    cluster.kubectl("-n", NAMESPACE, "patch", *deployment_names, "--type=merge", "-p", patch)
    settled = {one.name: one.generation for one in await deployments(store)}
    await imports(store, "bad")
    await eventually(
        lambda: wave_of(store, "bad"), lambda one: canary_state(one) is CanaryState.FAILING
    )
    found = await deployments(store)
    assert images(found) == {debian("new")}, "it was put back"
    changed = [one.name for one in found if one.generation != settled[one.name]]
    assert len(changed) == 1
