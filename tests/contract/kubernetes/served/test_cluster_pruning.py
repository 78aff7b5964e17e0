"""Pruning beside a real cluster, by the rights that an installation gives the server's account."""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
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
from tests.support.pruning.stopped_runs import stopped_after

from upwell.api.codec import decode
from upwell.api.image import Image, ImageStream
from upwell.cli.install.files import yaml_of
from upwell.cluster.kubernetes_documents import KubernetesDocuments
from upwell.cluster.kubernetes_pods import KubernetesPods
from upwell.oci import Digest
from upwell.policy.access.roles import SYSTEM_NAMESPACE
from upwell.policy.builds.identity import inputs_tag
from upwell.reconcilers.pruning import ClusterRoots, Pruning, PruningSchedule, Stores
from upwell.store.clusters.access import kubeconfig_access
from upwell.store.clusters.store import ClusterStore
from upwell.store.clusters.versions import use_served_versions
from upwell.store.kubernetes import KubernetesStore

NAMESPACE, SHOP = "upwell-pruning", "pruned-shop"
WEB = f"{SHOP}/web"
"""Repository of a stream there."""
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


def pod_spec(digest: Digest, repository: str = "shop/web") -> dict[str, Any]:
    return {"containers": [{"name": "web", "image": f"{HOST}/{repository}@{digest}"}]}


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


@on_demand(
    "tests/integration/reconcilers/test_pruning_real_stores.py"
    "::test_stopped_after_any_step_nothing_dangles_and_the_next_run_ends_the_same"
)
async def test_the_next_leader_ends_what_one_that_was_killed_between_two_removals_began(
    granted: KitCluster, kept: PrunedStores, tmp_path: Path
) -> None:
    running = await kept.push(f"{WEB}:latest", "running")
    await kept.registry.untag(WEB, "latest")
    Shop(granted).apply("v1", "Pod", spec=pod_spec(running, WEB))
    access = kubeconfig_access(account_kubeconfig(granted, NAMESPACE, tmp_path))
    async with KubernetesStore(access.server) as client, granted.client() as admin:
        await use_served_versions(client)
        api, setting_up = client.connection, ClusterStore(admin)
        await given_image(setting_up, running)
        for steps in range(100):
            old, now = [await kept.push(f"{WEB}:latest", f"{steps} {one}") for one in "on"]
            await kept.registry.untag(WEB, "latest")
            await kept.push(f"{WEB}:{inputs_tag('a' * 64)}", f"{steps} forgotten")
            stream = await given_history(setting_up, now, old)
            for digest in (old, now):
                await given_image(setting_up, digest)
            kept.grow_old()

            def stores_of_a_leader() -> Stores:
                objects = ClusterStore(client)
                roots = ClusterRoots(objects, KubernetesDocuments(api), KubernetesPods(api), HOST)
                return replace(
                    kept.stores, objects=objects, roots=roots, runtime=None, clock=in_a_month
                )

            whole = await stopped_after(steps, stores_of_a_leader(), kept.rules)
            there = await kept.manifests(WEB)
            assert {running, now} <= there
            assert await images_of(stream, setting_up) <= there, "a history names what is gone"

            await Pruning(stores_of_a_leader()).run(kept.rules, confirm=True)
            assert await kept.manifests(WEB) == {running, now}
            found = {Digest.parse(one.name) for one in (await setting_up.list(Image)).items}
            assert found == {running, now}
            again = await Pruning(stores_of_a_leader()).run(kept.rules, confirm=True)
            assert not again.items
            await setting_up.delete(ImageStream, SHOP, "web")
            await setting_up.delete(Image, "", str(now))
            if whole:
                assert steps > 5, "the run was stopped at several steps"
                break
        await setting_up.delete(Image, "", str(running))


def in_a_month() -> datetime:
    """Return a time at which all that a test makes on a cluster is old."""
    return datetime.now(UTC) + timedelta(days=30)


async def given_image(store: ClusterStore, digest: Digest) -> None:
    spec = f"{HOST}/{WEB}@{digest}"
    document = {"metadata": {"name": str(digest)}, "dockerImageReference": spec}
    await store.create(Image.model_validate(document))


async def given_history(store: ClusterStore, *digests: Digest) -> ImageStream:
    """Make stream `web`, whose tag has had these images, the newest first."""
    items = [
        {
            "created": "2026-01-01T00:00:00Z",
            "image": str(digest),
            "dockerImageReference": f"{HOST}/{WEB}@{digest}",
        }
        for digest in digests
    ]
    document = {
        "apiVersion": "image.openshift.io/v1",
        "kind": "ImageStream",
        "metadata": {"name": "web", "namespace": SHOP},
        "status": {"tags": [{"tag": "latest", "items": items}]},
    }
    wanted = decode(document)
    assert isinstance(wanted, ImageStream)
    made = await store.create(wanted)
    return await store.update_status(made.with_status(wanted.status))


async def images_of(stream: ImageStream, store: ClusterStore) -> set[Digest]:
    """Return the images that the histories of a stream name now."""
    found = await store.get(ImageStream, stream.namespace, stream.name)
    return {Digest.parse(one.image) for tag in found.status.tags for one in tag.items}
