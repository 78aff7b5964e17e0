"""One image change for many Deployments of a cluster, beside a shell loop of `kubectl set image`.

Run with `pytest -m benchmark -s tests/benchmarks/fleet/test_cluster_rollouts.py`.
"""

import asyncio
import shlex
import subprocess
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.support.benchmarks.ratios import Ratios
from tests.support.cluster.workloads import NAMESPACE, image, manifest, move_tag
from tests.support.kubernetes.cluster import KitCluster, started_cluster
from tests.support.workload.waiting import eventually

from upwell.api.apps import Deployment
from upwell.api.codec import decode_as
from upwell.api.core import Event, Namespace
from upwell.api.meta import ObjectMeta
from upwell.cluster.kubernetes import KubernetesWorkloads
from upwell.cluster.kubernetes_pods import KubernetesPods
from upwell.controller import ObjectCache
from upwell.reconcilers.cluster_rollouts.parts import ClusterParts
from upwell.reconcilers.cluster_rollouts.pods import PodIndex
from upwell.reconcilers.cluster_rollouts.reconciler import cluster_rollout_controller
from upwell.reconcilers.cluster_rollouts.records import RolloutRecords
from upwell.reconcilers.rollouts.index import WorkloadIndex
from upwell.store.interface import Selector, StoreError
from upwell.store.kubernetes import KubernetesStore
from upwell.store.kubernetes_connections import ServerAccess
from upwell.store.kubernetes_http import ApiConnection, ApiRequest, ApiResponse

pytestmark = pytest.mark.benchmark

DEPLOYMENTS = 1000
BY_KUBECTL = 100
"""Of them: a loop takes as long for each."""
WITH_PODS = 50
"""A node takes 110 Pods, and a rollout has two of each Deployment for a moment."""


class CountingConnection(ApiConnection):
    """Counts what is asked, and what is refused, by verb and kind."""

    def __init__(self, access: ServerAccess) -> None:
        super().__init__(access)
        self.asked: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()

    async def ask(self, request: ApiRequest) -> ApiResponse:
        what = f"{request.method} {request.kind}"
        self.asked[what] += 1
        try:
            return await super().ask(request)
        except StoreError:
            self.refused[what] += 1
            raise


@pytest.fixture
def cluster(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[KitCluster]:
    with started_cluster(tmp_path / "kube", getattr(request, "param", "none")) as started:
        yield started


@asynccontextmanager
async def kept_current(api: ApiConnection, cache: ObjectCache) -> AsyncIterator[None]:
    """Keep the cluster's Deployments current within the context."""

    def now() -> datetime:
        return datetime.now(UTC)

    pods = PodIndex(KubernetesPods(api))
    parts = ClusterParts(KubernetesWorkloads(api, now), {"": pods})
    controller = cluster_rollout_controller(
        WorkloadIndex(cache), RolloutRecords(parts, now), now, kinds=(Deployment,)
    )
    running = [asyncio.create_task(loop()) for loop in (cache.run, pods.run, controller.run)]
    await cache.ready(Deployment)
    try:
        yield
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def create_all(store: KubernetesStore, count: int, replicas: int) -> None:
    """Create Deployments that have the image of the tag; without replicas, the API is measured."""
    await store.create(Namespace(metadata=ObjectMeta(name=NAMESPACE)))
    await move_tag(store, "old")
    seats = asyncio.Semaphore(16)

    async def create(number: int) -> None:
        document = manifest(Deployment, f"web-{number}")
        document["spec"]["replicas"] = replicas
        document["spec"]["template"]["spec"]["containers"][0]["image"] = image("old")
        async with seats:
            await store.create(decode_as(Deployment, document))

    async with asyncio.TaskGroup() as group:
        for number in range(count):
            group.create_task(create(number))


async def until_available(store: KubernetesStore) -> Sequence[Deployment]:
    """Wait until each Deployment has one Pod, which is available and has its image."""

    async def look() -> Sequence[Deployment]:
        return (await store.list(Deployment, Selector(NAMESPACE))).items

    def all_are(found: Sequence[Deployment]) -> bool:
        return all(
            one.status.observed_generation == one.generation
            and (one.status.replicas, one.status.updated_replicas) == (1, 1)
            and one.status.available_replicas == 1
            for one in found
        )

    return await eventually(look, all_are)


async def seconds_until_all(store: KubernetesStore, cache: ObjectCache, version: str) -> float:
    """Move the tag, and return the seconds until the last Deployment has its image."""
    missing = {one.name for one in (await store.list(Deployment, Selector(NAMESPACE))).items}
    over = asyncio.Event()

    def seen(_: Deployment | None, after: Deployment | None) -> None:
        if after is not None and after.spec.template.spec.containers[0].image == image(version):
            missing.discard(after.name)
            if not missing:
                over.set()

    cache.on_change(Deployment, seen)
    start = time.perf_counter()
    await move_tag(store, version)
    await over.wait()
    return time.perf_counter() - start


def kubectl_loop(cluster: KitCluster) -> float:
    """Return the seconds that a shell loop takes for one Deployment."""
    kubectl = f"kubectl --kubeconfig {shlex.quote(str(cluster.kubeconfig))} -n {NAMESPACE}"
    one = f'{kubectl} set image "deployment/web-$number" app={image("by-hand")}'
    script = f"for number in $(seq 0 {BY_KUBECTL - 1}); do {one} >/dev/null || exit 1; done"
    start = time.perf_counter()
    subprocess.run(["/bin/sh", "-c", script], check=True, cwd=Path("/"))
    return (time.perf_counter() - start) / BY_KUBECTL


async def test_one_image_change_for_a_thousand_deployments(
    cluster: KitCluster, ratios: Ratios
) -> None:
    access = ServerAccess(cluster.base_url, cluster.token, cluster.ca, timeout=300)
    api = CountingConnection(access)
    async with KubernetesStore(cluster.base_url, token=cluster.token, ca=cluster.ca) as store:
        await create_all(store, DEPLOYMENTS, replicas=0)
        cache = ObjectCache(store)
        async with kept_current(api, cache):
            seconds = await seconds_until_all(store, cache, "new")
            await until_told(store, DEPLOYMENTS)
        stored = (await store.list(Deployment, Selector(NAMESPACE))).items
    await api.close()
    loop = kubectl_loop(cluster)

    print(f"\n{DEPLOYMENTS} Deployments have the image of a tag after {seconds:.1f} s;")  # noqa: T201
    print(f"requests: {dict(api.asked)}, of these refused: {dict(api.refused)}")  # noqa: T201
    print(f"kubectl set image: {loop * 1000:.0f} ms each, {loop * DEPLOYMENTS:.0f} s for all")  # noqa: T201
    assert {one.generation for one in stored} == {2}
    assert writes(api) <= 2 * DEPLOYMENTS
    ratios.note_speed("cluster rollouts: kubectl loop / Upwell", loop * DEPLOYMENTS / seconds)


@pytest.mark.parametrize("cluster", ["hollow"], indirect=True)
async def test_a_rollout_of_pods_takes_two_writes_as_well(cluster: KitCluster) -> None:
    api = CountingConnection(ServerAccess(cluster.base_url, cluster.token, cluster.ca))
    async with KubernetesStore(cluster.base_url, token=cluster.token, ca=cluster.ca) as store:
        await create_all(store, WITH_PODS, replicas=1)
        await until_available(store)
        cache = ObjectCache(store)
        async with kept_current(api, cache):
            seconds = await seconds_until_all(store, cache, "new")
            stored = await until_available(store)
            await until_told(store, WITH_PODS)
    await api.close()

    print(f"\n{WITH_PODS} Deployments with Pods have the image after {seconds:.1f} s;")  # noqa: T201
    print(f"requests: {dict(api.asked)}, of these refused: {dict(api.refused)}")  # noqa: T201
    assert {one.generation for one in stored} == {2}
    assert writes(api) <= 2 * WITH_PODS


async def until_told(store: KubernetesStore, count: int) -> None:
    """Wait until an Event at each Deployment tells of its image: these writes count, too."""

    async def told() -> int:
        found = (await store.list(Event, Selector(NAMESPACE))).items
        return len(
            {one.involved_object.name for one in found if one.source.get("component") == "upwell"}
        )

    await eventually(told, lambda names: names == count)


def writes(api: CountingConnection) -> int:
    """Return how many requests have changed something."""
    done = api.asked - api.refused
    return sum(number for what, number in done.items() if not what.startswith("GET "))
