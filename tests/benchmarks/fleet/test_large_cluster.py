"""A server of 10,000 Deployments and 100,000 Pods: memory, first decision after a start, idle cost.

Run with `pytest -m benchmark -s tests/benchmarks/fleet/test_large_cluster.py`. Objects are stored
in etcd as if the cluster had run them for long; its own controllers are ended, so that nothing else
changes them. A `kubectl get` of all Pods, in the same run, says what reading them costs.
"""

import asyncio
import json
import os
import re
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from tests.support.benchmarks.processor_time import process_seconds
from tests.support.benchmarks.ratios import Ratios
from tests.support.cluster.workloads import image, manifest, move_tag
from tests.support.installation.installation import until
from tests.support.kubernetes.cluster import KitCluster, started_cluster
from tests.support.kubernetes.etcd import put_all
from tests.support.kubernetes.server_replicas import ServerReplica

from upwell.api.apps import Deployment
from upwell.store.kubernetes import KubernetesStore

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(3000)]

NAMESPACE = "shop"
DEPLOYMENTS = int(os.environ.get("DEPLOYMENTS", "10000"))
PODS_OF_EACH = 10
NODES = 1000
RUNNING = "/apis/upwell.dev/v1alpha1/runningworkloads?limit=1"
"""Path that answers once all Pods are known."""
LATE = "web-0"
"""The Deployment that has not got the image of its tag yet."""
IDLE_SECONDS = float(os.environ.get("IDLE_SECONDS", "120"))
_QUIET_SECONDS, _QUIET_LOOKS, _QUIET_WITHIN = 0.4, 4, 1200.0
"""Processor time in 5 s that is little, how often in a row, and until when."""
SETTINGS = """\
on = "kubernetes"
[kubernetes]
lease-namespace = "shop"
"""
_NOW = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _stored(document: dict[str, Any]) -> dict[str, Any]:
    metadata = {**document["metadata"], "uid": str(uuid4()), "creationTimestamp": _NOW}
    return {**document, "metadata": {**metadata, "generation": 1}}


def deployments() -> Iterator[dict[str, Any]]:
    """Yield Deployments that follow a tag and have been rolled out in full."""
    for number in range(DEPLOYMENTS):
        one = manifest(Deployment, f"web-{number}", namespace=NAMESPACE)
        one["spec"] |= {
            "replicas": PODS_OF_EACH,
            "progressDeadlineSeconds": 600,
            "strategy": {"type": "RollingUpdate"},
        }
        one["spec"]["template"]["spec"]["containers"][0]["image"] = image("old")
        counts = ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas")
        status = {"observedGeneration": 1, **dict.fromkeys(counts, PODS_OF_EACH)}
        yield _stored({**one, "status": status})


def pods() -> Iterator[dict[str, Any]]:
    """Yield the Pods of these Deployments."""
    for number in range(DEPLOYMENTS * PODS_OF_EACH):
        name = f"web-{number // PODS_OF_EACH}"
        owner = {
            "apiVersion": "apps/v1",
            "kind": "ReplicaSet",
            "name": f"{name}-5d4f8c7b9",
            "uid": str(uuid4()),
            "controller": True,
        }
        runs = {
            "name": "app",
            "image": image("old"),
            "imageID": image("old"),
            "ready": True,
            "restartCount": 0,
            "state": {"running": {"startedAt": _NOW}},
        }
        yield _stored(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {
                    "name": f"{name}-5d4f8c7b9-{number % PODS_OF_EACH}",
                    "namespace": NAMESPACE,
                    "labels": {"app": name, "pod-template-hash": "5d4f8c7b9"},
                    "ownerReferences": [owner],
                },
                "spec": {
                    "nodeName": f"node-{number % NODES}",
                    "containers": [{"name": "app", "image": image("old")}],
                },
                "status": {
                    "phase": "Running",
                    "conditions": [{"type": "Ready", "status": "True"}],
                    "containerStatuses": [runs],
                },
            }
        )


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KitCluster]:
    with started_cluster(tmp_path_factory.mktemp("kube")) as started:
        started.kubectl("create", "namespace", NAMESPACE)
        for name in ("kube-controller-manager", "kube-scheduler"):
            pid = int((started.folder / "pids" / f"{name}.pid").read_text())
            os.kill(pid, signal.SIGKILL)
        put_all(started, "deployments", deployments())
        put_all(started, "pods", pods())
        yield started


def resident(pid: int, what: str = "VmRSS") -> int:
    """Return MiB of memory that a process has (`VmHWM`: has had at most)."""
    found = re.search(rf"{what}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) // 1024


def read_by_kubectl(cluster: KitCluster) -> float:
    """Return the seconds that it takes kubectl to list all Pods, in pages of 500."""
    command = [
        "kubectl",
        "--kubeconfig",
        str(cluster.kubeconfig),
        "get",
        "pods",
        "-A",
        "-o",
        "name",
    ]
    begun = time.perf_counter()
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert len(done.stdout.splitlines()) == DEPLOYMENTS * PODS_OF_EACH
    return time.perf_counter() - begun


def requests(cluster: KitCluster) -> Counter[str]:
    """Return how often the API server was asked for what since it began."""
    counted: Counter[str] = Counter()
    for line in cluster.kubectl("get", "--raw", "/metrics").splitlines():
        if line.startswith("apiserver_request_total{"):
            labels = dict(re.findall(r'(\w+)="([^"]*)"', line))
            counted[f"{labels['verb']} {labels['resource']}"] += int(float(line.split()[-1]))
    return counted


async def image_of(store: KubernetesStore, name: str) -> str:
    found = await store.get(Deployment, NAMESPACE, name)
    return found.spec.template.spec.containers[0].image


async def test_a_server_of_a_large_cluster(
    cluster: KitCluster, tmp_path: Path, ratios: Ratios
) -> None:
    (tmp_path / "upwell.toml").write_text(SETTINGS)
    server = ServerReplica(tmp_path / "server", cluster.kubeconfig)
    listing = await asyncio.to_thread(read_by_kubectl, cluster)
    async with cluster.client() as store:
        await move_tag(store, "old")
        late = json.loads(
            cluster.kubectl("get", f"deployment/{LATE}", "-n", NAMESPACE, "-o", "json")
        )
        late["spec"]["template"]["spec"]["containers"][0]["image"] = image("older")
        cluster.kubectl(
            "apply", "--force-conflicts", "--server-side", "-f", "-", given=json.dumps(late)
        )
        try:
            before, begun = requests(cluster), time.perf_counter()
            server.launch()
            await server.until_it_leads()
            leads = time.perf_counter() - begun
            await until(
                lambda: image_of(store, LATE), lambda now: now == image("old"), 900, closely=True
            )
            decides = time.perf_counter() - begun
            await until(
                lambda: server.answer_of(RUNNING), lambda told: told.startswith("200"), 1200
            )
            knows = time.perf_counter() - begun
            await _until_quiet(server.pid)
            asked = requests(cluster) - before
            used = process_seconds(server.pid)
            await asyncio.sleep(IDLE_SECONDS)
            idle = (process_seconds(server.pid) - used) * 60 / IDLE_SECONDS
            memory, most = resident(server.pid), resident(server.pid, "VmHWM")
        finally:
            server.kill()
    print(  # noqa: T201
        f"\n{DEPLOYMENTS} Deployments, {DEPLOYMENTS * PODS_OF_EACH} Pods:"
        f" leads after {leads:.1f} s, first decision after {decides:.1f} s,"
        f" all Pods known after {knows:.1f} s (kubectl lists them in {listing:.1f} s);"
        f" {memory} MiB, at most {most} MiB; idle {idle:.2f} s of a processor a minute;"
        f" requests of the start: {asked.most_common(8)}"
    )
    ratios.note_speed("large cluster: kubectl get pods / first decision", listing / decides)
    ratios.note_speed("large cluster: kubectl get pods / all Pods known", listing / knows)


async def _until_quiet(pid: int) -> None:
    """Wait until the server has nothing left to do, which on a busy machine takes long."""
    quiet = 0
    async with asyncio.timeout(_QUIET_WITHIN):
        while quiet < _QUIET_LOOKS:
            used = process_seconds(pid)
            await asyncio.sleep(5)
            quiet = quiet + 1 if process_seconds(pid) - used < _QUIET_SECONDS else 0
