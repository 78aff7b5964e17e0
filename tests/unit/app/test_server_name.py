"""Names by which servers keep out of each other's buckets."""

from dataclasses import replace

from upwell.api.codec import decode_as
from upwell.api.core import Namespace
from upwell.app.kubernetes.cluster import server_name
from upwell.controller.leader import Election
from upwell.machine.clock import now
from upwell.store.memory import MemoryStore

LEASE = Election("upwell", "upwell", "one")


async def a_cluster() -> MemoryStore:
    store = MemoryStore(now)
    await store.create(decode_as(Namespace, {"metadata": {"name": "kube-system"}}))
    return store


async def test_replicas_have_one_name_and_all_other_servers_another() -> None:
    cluster = await a_cluster()
    name = await server_name(cluster, LEASE)
    assert await server_name(cluster, replace(LEASE, identity="two")) == name
    others = {
        await server_name(await a_cluster(), LEASE),
        await server_name(cluster, replace(LEASE, namespace="other")),
        await server_name(cluster, replace(LEASE, name="other")),
    }
    assert len({name, *others}) == 4
