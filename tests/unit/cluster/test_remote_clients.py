"""Clients of other clusters: one of each, whoever asks at the same time."""

import asyncio
import base64
from datetime import UTC, datetime
from typing import Any

import pytest
import yaml

from upwell.api.clusters.cluster import Cluster
from upwell.api.codec import decode_as
from upwell.api.core import Secret
from upwell.cluster.kubernetes_remote import KubernetesRemoteCluster, KubernetesRemoteClusters
from upwell.store.memory import MemoryStore

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def kubeconfig(token: str) -> Secret:
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "east", "cluster": {"server": "https://east.test:6443"}}],
        "users": [{"name": "upwell", "user": {"token": token}}],
        "contexts": [{"name": "east", "context": {"cluster": "east", "user": "upwell"}}],
        "current-context": "east",
    }
    text = base64.b64encode(yaml.safe_dump(document).encode()).decode()
    metadata = {"name": "east", "namespace": "ops"}
    return decode_as(Secret, {"metadata": metadata, "data": {"value": text}})


async def nowhere(*_: object) -> object:
    raise OSError("nobody connects here")


async def test_a_secret_that_changes_makes_one_client_for_all_who_ask(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    open_ones: list[KubernetesRemoteCluster] = []
    init, close = KubernetesRemoteCluster.__init__, KubernetesRemoteCluster.close

    def opened(self: KubernetesRemoteCluster, *arguments: Any) -> None:
        init(self, *arguments)
        open_ones.append(self)

    async def closed(self: KubernetesRemoteCluster) -> None:
        await asyncio.sleep(0)  # connections take a while to close
        await close(self)
        open_ones.remove(self)

    monkeypatch.setattr(KubernetesRemoteCluster, "__init__", opened)
    monkeypatch.setattr(KubernetesRemoteCluster, "close", closed)
    store = MemoryStore(lambda: NOW)
    made = await store.create(kubeconfig("one"))
    reference = {"namespace": "ops", "name": "east"}
    spec = {"kubeConfig": {"secretRef": reference}}
    cluster = decode_as(Cluster, {"metadata": {"name": "east"}, "spec": spec})
    clusters = KubernetesRemoteClusters(store, nowhere, lambda: NOW)

    first = await clusters.connect(cluster)
    await store.update(made.model_copy(update={"data": kubeconfig("two").data}))
    found = await asyncio.gather(*(clusters.connect(cluster) for _ in range(4)))

    assert set(map(id, found)) == {id(found[0])}
    assert open_ones == [found[0]] != [first]
    await clusters.close()
    assert open_ones == []
