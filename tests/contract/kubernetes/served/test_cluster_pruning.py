"""Pruning beside a real cluster, by the rights that an installation gives the server's account."""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from functools import partial
from operator import eq
from pathlib import Path
from typing import Any

import pytest
from tests.contract.kubernetes.served.test_served_cluster import rights
from tests.support.faults.on_demand import on_demand
from tests.support.kubernetes.cluster import KitCluster
from tests.support.kubernetes.served_cluster import account_kubeconfig, until
from tests.support.pruning.pruned_stores import HOST, PrunedStores

from upwell.cli.install.files import yaml_of
from upwell.cluster.kubernetes_documents import KubernetesDocuments
from upwell.cluster.kubernetes_pods import KubernetesPods
from upwell.oci import Digest
from upwell.policy.access.roles import SYSTEM_NAMESPACE
from upwell.reconcilers.pruning import ClusterRoots, Pruning, PruningSchedule
from upwell.store.clusters.access import kubeconfig_access
from upwell.store.clusters.store import ClusterStore
from upwell.store.clusters.versions import use_served_versions
from upwell.store.kubernetes import KubernetesStore

NAMESPACE, SHOP = "upwell-pruning", "pruned-shop"
_DAY = timedelta(days=1)


@pytest.fixture
def granted(cluster: KitCluster) -> Iterator[KitCluster]:
    cluster.until_gone(NAMESPACE, SHOP)
    shop = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SHOP}}
    cluster.kubectl("apply", "-f", "-", given=yaml_of([shop, *rights(NAMESPACE)[1:]]))
    yield cluster
    record = ("configmap", "upwell-pruning", "--ignore-not-found")
    cluster.kubectl("-n", SYSTEM_NAMESPACE, "delete", *record)
    kept = ("Namespace", SYSTEM_NAMESPACE)
    gone = [one for one in rights(NAMESPACE)[1:] if (one["kind"], one["metadata"]["name"]) != kept]
    cluster.kubectl("delete", "--wait=false", "-f", "-", given=yaml_of([shop, *gone]))


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[PrunedStores]:
    made = PrunedStores(tmp_path / "stores")
    yield made
    made.inventory.close()


class Shop:
    """Workloads on the cluster; each stands on an image of `shop/web`."""

    def __init__(self, cluster: KitCluster) -> None:
        self._cluster = cluster

    def apply(self, api: str, kind: str, **fields: Any) -> None:
        """Apply an object of one name, whatever its kind."""
        meta = {"name": "web", "namespace": SHOP, "labels": {"app": "web"}}
        document = {"apiVersion": api, "kind": kind, "metadata": meta, **fields}
        self._cluster.kubectl("apply", "-f", "-", given=json.dumps(document))

    def roll(self, kind: str, *digests: Digest) -> None:
        """Let a workload have stood on each of the images, the last one now."""
        revisions = "replicasets" if kind == "Deployment" else "controllerrevisions"
        # A StatefulSet's revisions have the labels of its template, as ReplicaSets have.
        asked = ("-n", SHOP, "get", revisions, "-l", f"app={kind.lower()}", "-o", "name")
        labels = {"app": kind.lower()}
        for number, digest in enumerate(digests, 1):
            template = {"metadata": {"labels": labels}, "spec": pod_spec(digest)}
            spec = {"selector": {"matchLabels": labels}, "template": template}
            named = {"serviceName": "web"} if kind == "StatefulSet" else {}
            self.apply("apps/v1", kind, spec={**spec, **named})
            until(lambda: len(self._cluster.kubectl(*asked).split()), partial(eq, number))


def pod_spec(digest: Digest) -> dict[str, Any]:
    return {"containers": [{"name": "web", "image": f"{HOST}/shop/web@{digest}"}]}


@on_demand(
    "tests/unit/reconcilers/pruning/test_cluster_roots.py"
    "::test_what_a_cluster_needs_stays_and_goes_when_it_needs_it_no_more"
)
async def test_only_what_neither_a_pod_nor_a_revision_nor_a_release_needs_goes(
    granted: KitCluster, kept: PrunedStores, tmp_path: Path
) -> None:
    names = ("gone", "old", "new", "before", "after", "pod", "placed")
    pushed = {name: await kept.push("shop/web:latest", name) for name in names}
    await kept.registry.untag("shop/web", "latest")
    kept.grow_old()
    shop = Shop(granted)
    shop.roll("Deployment", pushed["old"], pushed["new"])
    shop.roll("StatefulSet", pushed["before"], pushed["after"])
    shop.apply("v1", "Pod", spec=pod_spec(pushed["pod"]))
    component = {"name": "web", "image": f"{HOST}/shop/web@{pushed['placed']}"}
    release = {"pipeline": "web", "number": 1, "components": [component]}
    shop.apply("upwell.dev/v1alpha1", "Release", spec=release)

    access = kubeconfig_access(account_kubeconfig(granted, NAMESPACE, tmp_path))
    async with KubernetesStore(access.server) as client:
        await use_served_versions(client)
        api, objects = client.connection, ClusterStore(client)
        roots = ClusterRoots(objects, KubernetesDocuments(api, page=2), KubernetesPods(api), HOST)
        stores = replace(kept.stores, objects=objects, roots=roots, runtime=None)
        pruning = Pruning(stores)
        schedule = PruningSchedule(pruning, stores, kept.rules, _DAY)

        assert await schedule.prune_if_due() == _DAY

        assert await kept.manifests("shop/web") == {*pushed.values()} - {pushed["gone"]}
        recorded = await schedule.last_run()
        assert await schedule.prune_if_due() < _DAY
        assert await schedule.last_run() == recorded is not None
