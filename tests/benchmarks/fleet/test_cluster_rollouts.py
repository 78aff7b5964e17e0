"""One image change for many Deployments of a cluster, beside a shell loop of `kubectl set image`.

Run with `pytest -m benchmark -s tests/benchmarks/fleet/test_cluster_rollouts.py`.
"""

import asyncio
import shlex
import subprocess
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.support.benchmarks.ratios import Ratios
from tests.support.cluster.workloads import NAMESPACE, image, manifest, move_tag
from tests.support.kubernetes.cluster import KitCluster, started_cluster

from upwell.api.apps import Deployment
from upwell.api.codec import decode_as
from upwell.api.core import Namespace
from upwell.api.meta import ObjectMeta
from upwell.cluster.kubernetes import KubernetesWorkloads
from upwell.cluster.kubernetes_pods import KubernetesPods
from upwell.controller import ObjectCache
from upwell.reconcilers.cluster_rollouts.parts import ClusterParts
from upwell.reconcilers.cluster_rollouts.pods import PodIndex
from upwell.reconcilers.cluster_rollouts.reconciler import cluster_rollout_controller
from upwell.reconcilers.cluster_rollouts.records import RolloutRecords
from upwell.reconcilers.rollouts.index import WorkloadIndex
from upwell.store.interface import Selector
from upwell.store.kubernetes import KubernetesStore
from upwell.store.kubernetes_connections import ServerAccess
from upwell.store.kubernetes_http import ApiConnection, ApiRequest, ApiResponse

pytestmark = pytest.mark.benchmark

DEPLOYMENTS = 1000
BY_KUBECTL = 100
"""Of them: a loop takes as long for each."""


class CountingConnection(ApiConnection):
    """Counts what is asked, by verb and kind."""

    def __init__(self, access: ServerAccess) -> None:
        super().__init__(access)
        self.asked: Counter[str] = Counter()

    async def ask(self, request: ApiRequest) -> ApiResponse:
        self.asked[f"{request.method} {request.kind}"] += 1
        return await super().ask(request)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KitCluster]:
    with started_cluster(tmp_path_factory.mktemp("kube")) as started:
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


async def create_all(store: KubernetesStore) -> None:
    """Create the Deployments; none has Pods, so that the API alone is measured."""
    seats = asyncio.Semaphore(16)

    async def create(number: int) -> None:
        document = manifest(Deployment, f"web-{number}")
        document["spec"]["replicas"] = 0
        async with seats:
            await store.create(decode_as(Deployment, document))

    async with asyncio.TaskGroup() as group:
        for number in range(DEPLOYMENTS):
            group.create_task(create(number))


async def seconds_until_all(store: KubernetesStore, cache: ObjectCache, version: str) -> float:
    """Move the tag, and return the seconds until the last Deployment has its image."""
    missing = {f"web-{number}" for number in range(DEPLOYMENTS)}
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
        await store.create(Namespace(metadata=ObjectMeta(name=NAMESPACE)))
        await create_all(store)
        cache = ObjectCache(store)
        async with kept_current(api, cache):
            api.asked.clear()
            seconds = await seconds_until_all(store, cache, "new")
        stored = (await store.list(Deployment, Selector(NAMESPACE))).items
    await api.close()
    loop = kubectl_loop(cluster)

    requests = {what: count / DEPLOYMENTS for what, count in api.asked.items()}
    print(f"\n{DEPLOYMENTS} Deployments have the image of a tag after {seconds:.1f} s;")  # noqa: T201
    print(f"requests for each: {requests}")  # noqa: T201
    print(f"kubectl set image: {loop * 1000:.0f} ms each, {loop * DEPLOYMENTS:.0f} s for all")  # noqa: T201
    assert {one.generation for one in stored} == {2}
    ratios.note_speed("cluster rollouts: kubectl loop / Upwell", loop * DEPLOYMENTS / seconds)
