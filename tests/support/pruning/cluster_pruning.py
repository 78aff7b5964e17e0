"""Stores of a server on a cluster, whose lists of objects a test makes."""

from dataclasses import replace
from pathlib import Path

from tests.support.cluster.listed import ListedCluster
from tests.support.pruning.pruned_stores import HOST, PrunedStores

from upwell.cluster.kubernetes_documents import KubernetesDocuments
from upwell.cluster.kubernetes_pods import KubernetesPods
from upwell.oci import Digest
from upwell.reconcilers.pruning import ClusterRoots, Pruning, Stores
from upwell.store.memory import MemoryStore


class ClusterPruning:
    """Stores whose images a cluster runs."""

    def __init__(self, folder: Path, namespaces: tuple[str, ...] = ()) -> None:
        self.cluster = ListedCluster()
        self.kept = PrunedStores(folder)
        self.namespaces = namespaces

    def stores(self, objects: MemoryStore | None = None) -> Stores:
        """Return them, with other objects if a test has some."""
        store = objects or self.kept.store
        documents, pods = KubernetesDocuments(self.cluster), KubernetesPods(self.cluster)
        roots = ClusterRoots(store, documents, pods, HOST, self.namespaces)
        return replace(self.kept.stores, roots=roots, runtime=None)

    def pruning(self, objects: MemoryStore | None = None) -> Pruning:
        return Pruning(self.stores(objects))

    async def pushed(self) -> Digest:
        """Push an old image of a stream that is gone."""
        digest = await self.kept.push("shop/web:latest", "old")
        await self.kept.put(
            "Image",
            "image.openshift.io/v1",
            str(digest),
            dockerImageReference=f"{HOST}/shop/web@{digest}",
        )
        self.kept.grow_old()
        return digest

    async def left(self, objects: MemoryStore | None = None) -> set[Digest]:
        """Prune, and return what is left."""
        await self.pruning(objects).run(self.kept.rules, confirm=True)
        return await self.kept.manifests("shop/web")
