"""The controller of a cluster's workloads on a real API server and its own controllers."""

import asyncio
import json
from collections.abc import AsyncIterator
from functools import partial

import pytest
from tests.support.authors import FixedAuthors
from tests.support.cluster.workloads import (
    NAMESPACE,
    PLACEHOLDER,
    image,
    manifest,
    move_tag,
)
from tests.support.faults.on_demand import on_demand
from tests.support.kubernetes.cluster import KitCluster
from tests.support.kubernetes.namespaces import given_namespace, leave_empty
from tests.support.kubernetes.opened import now, opened_cluster
from tests.support.workload.waiting import eventually

from upwell.api.apps import Deployment
from upwell.api.codec import decode_as
from upwell.api.core import Event
from upwell.app.kubernetes.wiring import cluster_controllers, cluster_records
from upwell.controller import ObjectCache
from upwell.policy.waves.budget import NO_BUDGET
from upwell.reconcilers.authority import Authority
from upwell.reconcilers.builds.index import BuildIndex
from upwell.reconcilers.rollouts.index import WorkloadIndex
from upwell.reconcilers.signatures.policies import UNRESTRICTED
from upwell.reconcilers.waves.gate import WaveGate
from upwell.store.interface import Selector
from upwell.store.kubernetes import KubernetesStore


@pytest.fixture
async def store(cluster: KitCluster) -> AsyncIterator[KubernetesStore]:
    """Give a client of a cluster whose workloads are kept current."""
    async with cluster.client() as store:
        await given_namespace(store, NAMESPACE)
        opened = opened_cluster(store)
        seen = opened.store
        cache = ObjectCache(seen)
        gate = WaveGate(BuildIndex(cache), now)
        records = cluster_records(opened, Authority(opened.authors(FixedAuthors())), UNRESTRICTED)
        controllers = cluster_controllers(opened, records, WorkloadIndex(cache), gate, NO_BUDGET)
        followed = [pods.run for pods in records.cluster.pods.values()]
        loops = [cache.run, *followed, *(one.run for one in controllers)]
        running = [asyncio.create_task(run()) for run in loops]
        yield store
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await leave_empty(store, NAMESPACE)


async def image_there(store: KubernetesStore, name: str) -> str:
    """Return the image of a Deployment."""
    found = await store.get(Deployment, NAMESPACE, name)
    return found.spec.template.spec.containers[0].image


@on_demand(
    "tests/unit/reconcilers/cluster_rollouts/test_copied_workloads.py"
    "::test_a_copy_is_kept_current_as_the_one_that_it_was_made_of"
)
async def test_a_copy_that_kubectl_creates_follows_its_tag_whoever_wrote_the_note_on_it(
    store: KubernetesStore, cluster: KitCluster
) -> None:
    await store.create(decode_as(Deployment, manifest(Deployment)))
    await move_tag(store, "good")
    await eventually(partial(image_there, store, "web"), image("good").__eq__)
    kubectl = partial(asyncio.to_thread, cluster.kubectl, "-n", NAMESPACE)
    copy = json.loads(await kubectl("get", "deployment/web", "-o", "json"))
    assert "upwell.dev/rollout" in copy["metadata"]["annotations"]
    copy["metadata"] = {"name": "copy", "annotations": copy["metadata"]["annotations"]}

    await kubectl("create", "-f", "-", given=json.dumps(copy))
    await move_tag(store, "better")

    await eventually(partial(image_there, store, "copy"), image("better").__eq__)
    await kubectl("annotate", "deployment/copy", "upwell.dev/rollout={}", "--overwrite")
    await move_tag(store, "best")
    await eventually(partial(image_there, store, "copy"), image("best").__eq__)


async def test_an_image_that_gets_stuck_is_put_back(store: KubernetesStore) -> None:
    """No Pod gets a node here, so that no rollout is ever complete."""
    declared = manifest(Deployment)
    declared["spec"]["progressDeadlineSeconds"] = 2
    await store.create(decode_as(Deployment, declared))
    images: list[str] = []

    async def deployment() -> Deployment:
        found = await store.get(Deployment, NAMESPACE, "web")
        present = found.spec.template.spec.containers[0].image
        if images[-1:] != [present]:
            images.append(present)
        return found

    await move_tag(store, "bad")
    await eventually(deployment, lambda _: images[-1] == image("bad"))
    back = await eventually(deployment, lambda _: images[-1] == PLACEHOLDER)

    async def events() -> dict[str, str]:
        found = (await store.list(Event, Selector(NAMESPACE))).items
        about = [one for one in found if one.involved_object.uid == back.uid]
        return {one.reason: one.message for one in about if one.source.get("component") == "upwell"}

    told = await eventually(events, lambda found: "RolledBack" in found)  # after the write
    assert told["ImageUpdated"] == f"set app = {image('bad')}"
    assert "no progress for 2 s" in told["RolledBack"]
    assert json.loads(back.annotations["upwell.dev/rollout"])["failed"] == {"app": image("bad")}
    assert back.generation == 3
