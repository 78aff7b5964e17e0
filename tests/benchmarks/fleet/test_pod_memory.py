"""Memory of 100,000 Pods of a cluster, and the time of a page of what they run.

Run with `pytest -m benchmark -s tests/benchmarks/fleet/test_pod_memory.py`. The Pods are decoded
from an API server's answers; the API server itself is left out.
"""

import gc
import json
import resource
import time
from pathlib import Path
from typing import Any

import pytest
from tests.support.benchmarks.bare_work import loop_seconds
from tests.support.benchmarks.ratios import Ratios
from tests.support.clocks import TickingClock
from tests.support.cluster.images import digest, stream
from tests.support.registry.memory import RegistryInMemory

from upwell.actions.running import MOST_WORKLOADS, RunningActions
from upwell.cluster.kubernetes_pods import KubernetesPods
from upwell.controller import ObjectCache
from upwell.oci import Platform
from upwell.reconcilers.cluster_rollouts.pods import PodIndex
from upwell.reconcilers.images.layers import LayerReader
from upwell.reconcilers.images.pull_secrets import PullSecrets
from upwell.reconcilers.rollouts.index import WorkloadIndex
from upwell.store.kubernetes_connections import ServerAccess
from upwell.store.kubernetes_http import ApiConnection, ApiRequest, ApiResponse
from upwell.store.memory import MemoryStore

pytestmark = pytest.mark.benchmark

WORKLOADS, REPLICAS, NODES, PAGE = 10_000, 10, 1_000, 500


def pod(number: int) -> dict[str, Any]:
    """Return a Pod as an API server sends it, with a sidecar and an init container."""
    owner, name = (
        f"web-{number // REPLICAS}-5d4f8c7b9",
        f"web-{number // REPLICAS}-5d4f8c7b9-{number:06d}",
    )
    image = f"registry.test/app-{number // REPLICAS % 500}:1"
    runs = {"imageID": f"{image}@{digest(f'app-{number // REPLICAS % 500}')}", "restartCount": 0}
    reference = {"kind": "ReplicaSet", "name": owner, "controller": True}
    return {
        "metadata": {
            "namespace": f"team-{number // REPLICAS % 200}",
            "name": name,
            "labels": {"app": "web", "pod-template-hash": "5d4f8c7b9"},
            "ownerReferences": [reference],
        },
        "spec": {
            "nodeName": f"node-{number % NODES}",
            "initContainers": [{"name": "init", "image": image}],
            "containers": [{"name": "app", "image": image}, {"name": "mesh", "image": "mesh:1"}],
        },
        "status": {
            "conditions": [{"type": "Ready", "status": "True"}],
            "initContainerStatuses": [{"name": "init", **runs}],
            "containerStatuses": [
                {"name": "app", **runs},
                {"name": "mesh", "imageID": f"mesh@{digest('mesh')}", "restartCount": 0},
            ],
        },
    }


class PagesOfPods(ApiConnection):
    """Answers pages of Pods, each made when it is asked for."""

    async def ask(self, request: ApiRequest) -> ApiResponse:
        begin = int(request.params.get("continue", "0"))
        end = min(begin + PAGE, WORKLOADS * REPLICAS)
        meta: dict[str, Any] = {"resourceVersion": "1"}
        if end < WORKLOADS * REPLICAS:
            meta["continue"] = str(end)
        page = json.dumps({"metadata": meta, "items": [pod(one) for one in range(begin, end)]})
        return ApiResponse(json.loads(page), [])


def resident() -> int:
    """Return the bytes of memory that the process has."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


async def test_memory_of_a_hundred_thousand_pods(ratios: Ratios) -> None:
    api = PagesOfPods(ServerAccess("http://127.0.0.1:9"))
    index = PodIndex(KubernetesPods(api, page=PAGE))
    gc.collect()
    before = resident()
    begun = time.perf_counter()
    changes = index.changes()
    await anext(changes)
    await changes.aclose()  # type: ignore[attr-defined]
    listed = time.perf_counter() - begun
    gc.collect()
    kept = resident() - before

    store = MemoryStore(TickingClock())
    one = stream("base", "app", latest=["new", *(f"app-{n}" for n in range(500))])
    await store.update_status((await store.create(one)).with_status(one.status))
    layers = LayerReader(RegistryInMemory(), PullSecrets(store), Platform("linux", "amd64"))
    running = RunningActions(WorkloadIndex(ObjectCache(store)), (index,), layers)
    await running.look((), lambda _: True)  # what is known of images is gathered once
    begun = time.perf_counter()
    names = running.names(lambda _: True)
    named = time.perf_counter() - begun
    found = await running.look(names[:MOST_WORKLOADS], lambda _: True)
    page = time.perf_counter() - begun
    print(  # noqa: T201
        f"\n{len(index)} Pods: {kept / 1e6:.0f} MB more, listed and decoded in {listed:.1f} s;"
        f" names {named * 1000:.0f} ms, a page of"
        f" {len(found)} {page * 1000:.0f} ms"
    )
    document = len(json.dumps(pod(0)))
    ratios.note_cost("memory of a Pod, its JSON", kept / len(index) / document)
    ratios.note_cost("a page of what runs, bare loop", page / loop_seconds())
    assert len(index) == WORKLOADS * REPLICAS
    assert all(any(image.behind for image in one.status.images) for one in found)
