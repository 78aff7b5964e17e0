"""Seconds until another replica reconciles, after a leader that is killed, and one that is stopped.

Run with `pytest -m benchmark -s tests/benchmarks/fleet/test_failover.py`.
"""

import asyncio
import statistics
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.benchmarks.ratios import Ratios
from tests.support.installation.installation import until
from tests.support.kubernetes.cluster import started_cluster
from tests.support.kubernetes.server_replicas import ServerReplica

from upwell.api.codec import decode_as
from upwell.api.image import ImageStream
from upwell.controller.leader import LeaseTimes
from upwell.store.kubernetes import KubernetesStore

pytestmark = pytest.mark.benchmark

NAMESPACE = "failover"
ROUNDS = 10
SETTINGS = """\
on = "kubernetes"
[kubernetes]
namespaces = ["failover"]
lease-namespace = "failover"
"""


class FailoverReplicas:
    """Two servers of one lease, of which `leader` leads."""

    def __init__(self, store: KubernetesStore, one: ServerReplica, two: ServerReplica) -> None:
        self.store = store
        self.leader, self.other = one, two
        self._streams = 0

    async def begin(self) -> None:
        self.leader.launch()
        await self.leader.until_it_leads()
        await self._follows()

    async def changed(self, *, killed: bool) -> tuple[float, float]:
        """End the leader; return the seconds until the other leads, and has decided something."""
        if killed:
            self.leader.kill()
        start = time.perf_counter()
        stopping = None if killed else asyncio.create_task(asyncio.to_thread(self.leader.stop))
        await until(self.other.role, lambda role: "role: leader" in role, 60, closely=True)
        leads = time.perf_counter() - start
        await self._decision()
        decides = time.perf_counter() - start
        if stopping is not None:
            await stopping
        self.leader, self.other = self.other, self.leader
        await self._follows()
        return leads, decides

    async def _follows(self) -> None:
        self.other.launch()
        await until(self.other.role, lambda role: "role: follows" in role, 120)

    async def _decision(self) -> None:
        self._streams += 1
        name = f"stream-{self._streams}"
        document = {"metadata": {"name": name, "namespace": NAMESPACE}}
        await self.store.create(decode_as(ImageStream, document))

        async def repository() -> str:
            found = await self.store.get(ImageStream, NAMESPACE, name)
            return found.status.docker_image_repository

        await until(repository, bool, 60, closely=True)


@pytest.fixture
async def replicas(tmp_path: Path) -> AsyncIterator[FailoverReplicas]:
    (tmp_path / "upwell.toml").write_text(SETTINGS)
    with started_cluster(tmp_path / "kube") as cluster:
        cluster.kubectl("create", "namespace", NAMESPACE)
        one, two = (ServerReplica(tmp_path / name, cluster.kubeconfig) for name in ("one", "two"))
        async with cluster.client() as store:
            found = FailoverReplicas(store, one, two)
            try:
                await found.begin()
                yield found
            finally:
                one.kill()
                two.kill()


@pytest.mark.parametrize("killed", [True, False], ids=["killed", "stopped"])
async def test_another_replica_takes_over(
    replicas: FailoverReplicas, ratios: Ratios, *, killed: bool
) -> None:
    found = [await replicas.changed(killed=killed) for _ in range(ROUNDS)]

    for what, seconds in zip(("leads", "decides"), zip(*found, strict=True), strict=True):
        each = ", ".join(f"{one:.1f}" for one in seconds)
        print(f"\n{what} after {statistics.median(seconds):.1f} s (median of {each})")  # noqa: T201
        title = f"another replica {what} after {'a kill' if killed else 'a stop'}"
        lease = LeaseTimes().duration
        ratios.note_cost(f"{title}, of the lease's duration", statistics.median(seconds) / lease)
