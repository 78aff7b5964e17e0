"""Contract of the port that reads objects as a cluster has them, page by page."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from tests.support.kubernetes.cluster import KitCluster

from upwell.api.core import ConfigMap
from upwell.api.meta import Kind
from upwell.cluster.errors import ClusterError
from upwell.cluster.interface import ClusterDocuments
from upwell.cluster.kubernetes_documents import KubernetesDocuments
from upwell.reconcilers.pruning.cluster_roots import NATIVE_ROOTS
from upwell.store.clusters.versions import use_served_versions

NAMESPACE = "cluster-documents"
_UNKNOWN = "unknown.example/image"


async def read(documents: ClusterDocuments, kind: Kind) -> list[Sequence[Mapping[str, Any]]]:
    return [page async for page in documents.pages(kind)]


def config_map(name: str) -> dict[str, Any]:
    meta = {"name": name, "annotations": {_UNKNOWN: "a@b"}}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"name": name}}


async def test_all_objects_come_page_by_page_as_they_are(cluster: KitCluster) -> None:
    items = [*map(config_map, ("one", "two", "three"))]
    async with cluster.store(NAMESPACE) as store:
        given = json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
        cluster.kubectl("-n", NAMESPACE, "apply", "-f", "-", given=given)

        pages = await read(KubernetesDocuments(store.connection, page=2), ConfigMap.KIND)

    assert len(pages) > 1
    assert max(map(len, pages)) == 2
    ours = [
        one["data"]["name"]
        for page in pages
        for one in page
        if one["metadata"]["namespace"] == NAMESPACE
        and one["metadata"].get("annotations", {}).get(_UNKNOWN) == "a@b"
    ]
    assert ours == ["one", "three", "two"]


async def test_each_kind_that_keeps_images_is_one_that_clusters_have(cluster: KitCluster) -> None:
    async with cluster.client() as store:
        await use_served_versions(store)
        for kind in NATIVE_ROOTS:
            assert await read(KubernetesDocuments(store.connection), kind), kind


async def test_a_kind_that_is_not_there_is_an_error_and_no_empty_list(cluster: KitCluster) -> None:
    widget = Kind("apps", "v1", "Widget", "widgets")
    async with cluster.client() as store:
        with pytest.raises(ClusterError, match="widgets"):
            await read(KubernetesDocuments(store.connection), widget)
