"""Access to a real cluster by its kubeconfig, and a leader by a Lease of it."""

import asyncio
from contextlib import suppress
from datetime import UTC, datetime

import pytest
from tests.support.kubernetes.cluster import KitCluster

from upwell.api.coordination.leases import Lease
from upwell.api.core import Namespace
from upwell.controller.leader import Election, LeaderElection, LeaderTerm, LeaseTimes
from upwell.controller.leader_thread import LeaderThread
from upwell.store.clusters.access import kubeconfig_access
from upwell.store.interface import NotFoundError
from upwell.store.kubernetes import KubernetesStore


@pytest.mark.parametrize("context", ["admin", "admin-token"])
async def test_a_kubeconfig_opens_the_cluster(cluster: KitCluster, context: str) -> None:
    access = kubeconfig_access(cluster.kubeconfig, context)

    async with KubernetesStore(access.server) as store:
        found = (await store.list(Namespace)).items

    assert "default" in {namespace.name for namespace in found}


async def test_a_leader_holds_a_lease_renews_it_and_gives_it_back(cluster: KitCluster) -> None:
    async with cluster.client() as store, cluster.client() as leases:
        led: asyncio.Future[LeaderTerm] = asyncio.Future()

        async def lead(term: LeaderTerm) -> None:
            led.set_result(term)
            await asyncio.Event().wait()

        times = LeaseTimes(renewal=0.05)
        election = Election("default", "of-the-contract", "one", times=times)
        elected = LeaderElection(leases, election, wall=lambda: datetime.now(UTC))
        running = asyncio.create_task(LeaderThread(elected, leases.close).run(lead))
        try:
            async with asyncio.timeout(60):
                await led
                first = held = await store.get(Lease, "default", "of-the-contract")
                while held.spec.renew_time == first.spec.renew_time:
                    held = await store.get(Lease, "default", "of-the-contract")
            running.cancel()
            await asyncio.wait({running})
            released = await store.get(Lease, "default", "of-the-contract")
        finally:
            running.cancel()
            await asyncio.wait({running})
            with suppress(NotFoundError):
                await store.delete(Lease, "default", "of-the-contract")

    assert held.spec.holder_identity == "one"
    assert held.spec.lease_duration_seconds == 10
    assert not released.spec.holder_identity
