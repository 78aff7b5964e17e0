"""One Pipeline from this machine's Podman to two clusters, one of which hangs and comes back."""

import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path

from tests.support.installation.applications import base_stream, published
from tests.support.installation.installation import Installation, installation, until
from tests.support.installation.promoted_installation import PromotedInstallation, stage_deployment
from tests.support.kubernetes.cluster import KitCluster, started_cluster

from upwell.api.clusters.cluster import REACHABLE, Cluster
from upwell.api.codec import decode_as
from upwell.api.conditions import find
from upwell.api.core import Namespace, Secret
from upwell.api.meta import ObjectMeta
from upwell.api.pipeline import ClusterPhase
from upwell.api.promotion import PromotionPhase

_WEB = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 0
      containers: [{name: web, image: "registry.example/web:first"}]
"""


def manifests(vendor: str) -> str:
    """A stream, a workload here, and the Pipeline from it to the clusters."""
    return f"""
{base_stream(vendor)}
{stage_deployment("shop-dev")}
{published("shop-dev")}
apiVersion: upwell.dev/v1alpha1
kind: Pipeline
metadata: {{name: shop}}
spec:
  components:
    - name: web
      from: {{kind: ImageStreamTag, name: "base:1"}}
  stages:
    - name: dev
      workloads: [{{name: shop-dev}}]
    - name: production
      namespace: shop
      clusters:
        selector: {{matchLabels: {{env: production}}}}
        canary: {{matchLabels: {{canary: "yes"}}}}
        maxUnavailable: 1
      workloads: [{{name: web}}]
"""


def cluster(name: str, labels: dict[str, str], **spec: object) -> Cluster:
    access = {"secretRef": {"namespace": "ops", "name": name}}
    metadata = {"name": name, "labels": {"env": "production", **labels}}
    return decode_as(Cluster, {"metadata": metadata, "spec": {"kubeConfig": access, **spec}})


@contextmanager
def two_clusters(folder: Path) -> Iterator[dict[str, KitCluster]]:
    """Two clusters with the workload of production, as a person has applied it there."""
    with (
        started_cluster(folder / "east", "hollow", crds=False) as east,
        started_cluster(folder / "west", "hollow", crds=False) as west,
    ):
        for one in (east, west):
            one.kubectl("create", "namespace", "shop")
            one.kubectl("apply", "-f", "-", given=_WEB)
        yield {"east": east, "west": west}


@contextmanager
def hung(cluster: KitCluster) -> Iterator[None]:
    """Stop the cluster's API server, which takes connections and answers nothing, for the block."""
    pid = int((cluster.folder / "pids" / "kube-apiserver.pid").read_text().split()[0])
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@asynccontextmanager
async def promoted_to(clusters: dict[str, KitCluster]) -> AsyncIterator[PromotedInstallation]:
    """The Pipeline, whose first version is everywhere."""

    def may_be_reached(made: Installation) -> None:
        for one in clusters.values():
            made.spare_ports.append(int(one.base_url.rpartition(":")[2]))

    async with installation(prepare=may_be_reached) as made, made.client() as client:
        await client.create(Namespace(metadata=ObjectMeta(name="ops")))
        for name, one in clusters.items():
            config = one.kubectl("config", "view", "--flatten", "--minify").encode()
            data = Secret.encode_values({"value": config})
            await client.create(Secret(metadata=ObjectMeta(name=name, namespace="ops"), data=data))
        promoted = PromotedInstallation(made, client)
        await promoted.publish()
        mirror = f"{made.vendor}/mirror"
        east = cluster("east", {"canary": "yes"}, namespaces=["shop"], mirror=mirror)
        await client.create(east)
        await client.create(cluster("west", {}))
        await made.apply(client, manifests(made.vendor))
        await promoted.until_phase("shop-1.production", PromotionPhase.SUCCEEDED)
        yield promoted


def image(cluster: KitCluster) -> str:
    return cluster.kubectl(
        *("-n", "shop", "get", "deployment", "web"),
        *("-o", "jsonpath={.spec.template.spec.containers[0].image}"),
    )


async def component(promoted: PromotedInstallation) -> str:
    """Return the image of the newest Release."""
    [found] = (await promoted.releases())[promoted.newest].spec.components
    return found.image


async def test_a_pipeline_goes_from_podman_to_two_clusters_of_which_one_may_hang(
    tmp_path: Path,
) -> None:
    with two_clusters(tmp_path) as clusters:
        async with promoted_to(clusters) as promoted:
            east, west = clusters["east"], clusters["west"]
            first = await component(promoted)
            digest = first.rpartition("@")[2]
            assert image(east) == f"{promoted.made.vendor}/mirror/vendor/base@{digest}"
            assert image(west) == first
            said = promoted.made.upwell("get", "clusters")
            assert [line.split()[2:4] for line in said.stdout.splitlines()[1:]] == [
                ["True", "True"],
                ["True", "True"],
            ]

            with hung(west):
                await promoted.publish()
                await promoted.until_phase("shop-2.production", PromotionPhase.SUCCEEDED)
                second = await component(promoted)
                assert image(east).rpartition("@")[2] == second.rpartition("@")[2]
                [behind] = (await promoted.pipeline()).status.stage("production").behind
                assert (behind.name, behind.phase) == ("west", ClusterPhase.AWAY)
                assert "did not answer" in behind.message

            async def left() -> list[str]:
                stage = (await promoted.pipeline()).status.stage("production")
                return [one.name for one in stage.behind]

            await until(left, [].__eq__)
            assert image(west) == second
            found = await promoted.client.get(Cluster, "", "west")
            reachable = find(found.status.conditions, REACHABLE)
            assert reachable is not None
            await until(partial(promoted.served, "dev"), promoted.versions[-1].__eq__)
