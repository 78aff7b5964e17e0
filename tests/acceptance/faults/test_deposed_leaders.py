"""Leaders that are cut off from the API server, or stopped, and come back late: nothing is twice.

On demand (`make faults`): each moment takes a failover. With simulated time, tests/unit/controller
shows the same of the election alone.
"""

import asyncio
import json
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.support.cluster.workloads import manifest
from tests.support.faults.machine_faults import ALL_STEPS
from tests.support.installation.installation import until
from tests.support.kubernetes.cluster import KitCluster, started_cluster
from tests.support.kubernetes.cut_off import ApiServerRelay, api_server_relay
from tests.support.kubernetes.played_node import PlayedNode
from tests.support.kubernetes.server_replicas import ServerReplica
from tests.support.registry.docker_registry import docker_registry, push_image

from upwell.api.apps import TRIGGERS_ANNOTATION, Deployment
from upwell.api.builds.build import Build, BuildPhase
from upwell.api.codec import decode_as
from upwell.api.image import ImageStream
from upwell.api.meta import Resource
from upwell.api.pipeline import Pipeline
from upwell.api.promotion import Promotion, Release
from upwell.store.interface import Selector
from upwell.store.kubernetes import KubernetesStore

NAMESPACE = "deposed"
STAGES = ("dev", "production")
SETTINGS = """\
on = "kubernetes"
[kubernetes]
namespaces = ["deposed"]
lease-namespace = "deposed"
[external-registry]
prefix = "{registry}/up"
"""
DECIDED: tuple[type[Resource], ...] = (Build, Release, Promotion, Deployment, ImageStream)

pytestmark = [
    pytest.mark.skipif(not ALL_STEPS, reason="on demand: UPWELL_FAULT_STEPS=all"),
    pytest.mark.skipif(shutil.which("buildah") is None, reason="apt install buildah"),
    pytest.mark.timeout(1800),
]


@dataclass
class ReplicaOnItsWay:
    """A server with a way of its own to the API server."""

    server: ServerReplica
    way: ApiServerRelay

    def cut_off(self) -> None:
        self.way.cut()

    def stop(self) -> None:
        self.server.suspend()

    def come_back(self) -> None:
        self.way.join()
        self.server.resume()


@dataclass
class PromotedBuilds:
    """Two servers that build an image, and promote it from dev to production."""

    store: KubernetesStore
    base: str
    leader: ReplicaOnItsWay
    other: ReplicaOnItsWay
    builds: int = 0
    probes: int = 0

    async def build_begins(self) -> str:
        self.builds += 1
        name = f"app-{self.builds}"
        document: dict[str, Any] = {
            "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": {
                "source": {
                    "type": "Dockerfile",
                    "dockerfile": f"FROM {self.base}\nLABEL is={name}\n",
                },
                "strategy": {"type": "Docker", "dockerStrategy": {}},
                "output": {"to": {"kind": "ImageStreamTag", "name": "app:latest"}},
            },
        }
        await self.store.create(decode_as(Build, document))
        return name

    async def phase(self) -> BuildPhase:
        return (await self.store.get(Build, NAMESPACE, f"app-{self.builds}")).status.phase

    async def promotions(self) -> dict[str, str]:
        """Return the phase of each promotion of the newest release, by its stage."""
        found = (await self.store.list(Promotion, Selector(NAMESPACE))).items
        newest = f"shop-{self.builds}"
        return {
            one.name.removeprefix(f"{newest}."): one.status.phase
            for one in found
            if one.name.startswith(f"{newest}.")
        }

    async def ended_in_full(self) -> bool:
        """Return whether the last promotion of the newest release has its conditions, too."""
        name = f"shop-{self.builds}.{STAGES[-1]}"
        return bool((await self.store.get(Promotion, NAMESPACE, name)).status.conditions)

    async def verified(self) -> set[str]:
        """Return the stages in which the newest release is verified."""
        found = await self.store.get(Release, NAMESPACE, f"shop-{self.builds}")
        return {one.name for one in found.status.verified}

    async def versions(self) -> dict[str, str]:
        """Return the versions of all that was decided."""
        return {
            f"{kind.KIND}/{one.name}": one.resource_version
            for kind in DECIDED
            for one in (await self.store.list(kind, Selector(NAMESPACE))).items
            if not one.name.startswith("probe")
        }

    async def until_settled(self) -> dict[str, str]:
        """Wait until nothing is decided any more; return the versions of all."""
        await until(self.promotions, lambda one: one.get("production") == "Succeeded", 240)
        await until(self.verified, lambda stages: stages == set(STAGES))
        await until(self.ended_in_full, bool)
        async with asyncio.timeout(120):
            before, now = None, await self.versions()
            while now != before:
                await self._reconciled()
                before, now = now, await self.versions()
        return now

    async def _reconciled(self) -> None:
        """Wait until whoever leads has looked at a new stream, which comes last."""
        self.probes += 1
        name = f"probe-{self.probes}"
        document = {"metadata": {"name": name, "namespace": NAMESPACE}}
        await self.store.create(decode_as(ImageStream, document))

        async def repository() -> str:
            found = await self.store.get(ImageStream, NAMESPACE, name)
            return found.status.docker_image_repository

        await until(repository, bool)

    async def until_deposed(self) -> None:
        """Wait until the leader of before says that it follows the one of now."""
        await until(self.leader.server.role, lambda role: "role: follows" in role, 120)
        self.leader, self.other = self.other, self.leader


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[KitCluster]:
    with started_cluster(tmp_path / "kube") as started:
        yield started


@pytest.fixture
async def shop(cluster: KitCluster, tmp_path: Path) -> AsyncIterator[PromotedBuilds]:
    async with (
        docker_registry(tmp_path) as registry,
        cluster.store(NAMESPACE) as store,
        api_server_relay(cluster, tmp_path / "way-one") as way_one,
        api_server_relay(cluster, tmp_path / "way-two") as way_two,
    ):
        await push_image(registry, "vendor/base", "1")
        (tmp_path / "upwell.toml").write_text(SETTINGS.format(registry=registry))
        one, two = (
            ReplicaOnItsWay(ServerReplica(tmp_path / name, way.kubeconfig), way)
            for name, way in (("one", way_one), ("two", way_two))
        )
        node = asyncio.create_task(PlayedNode(store.connection, store, NAMESPACE).run())
        declare(cluster)
        found = PromotedBuilds(store, f"{registry}/vendor/base:1", one, two)
        try:
            one.server.launch()
            await one.server.until_it_leads()
            two.server.launch()
            await until(two.server.role, lambda role: "role: follows" in role, 120)
            yield found
        finally:
            one.server.kill()
            two.server.kill()
            node.cancel()
            await asyncio.wait({node})


def declare(cluster: KitCluster) -> None:
    """Create the stream, the Pipeline and the Deployments of its stages."""
    for stage in STAGES:
        document = manifest(Deployment, stage, namespace=NAMESPACE)
        del document["metadata"]["annotations"][TRIGGERS_ANNOTATION]
        cluster.kubectl("apply", "-f", "-", given=json.dumps(document))
    stream = {"metadata": {"name": "app", "namespace": NAMESPACE}}
    source = {"name": "app", "from": {"kind": "ImageStreamTag", "name": "app:latest"}}
    stages = [{"name": stage, "workloads": [{"name": stage}]} for stage in STAGES]
    pipeline = {
        "metadata": {"name": "shop", "namespace": NAMESPACE},
        "spec": {"components": [source], "stages": stages},
    }
    for kind, one in ((ImageStream, stream), (Pipeline, pipeline)):
        made = {"apiVersion": kind.KIND.api_version, "kind": kind.KIND.kind, **one}
        cluster.kubectl("create", "-f", "-", given=json.dumps(made))


async def _begun(shop: PromotedBuilds) -> None:
    del shop


async def _running(shop: PromotedBuilds) -> None:
    await until(
        shop.phase, lambda phase: phase is BuildPhase.RUNNING or phase.is_terminal, 60, closely=True
    )


async def _built(shop: PromotedBuilds) -> None:
    await until(shop.phase, lambda phase: phase.is_terminal, 120, closely=True)


async def _promoting(shop: PromotedBuilds) -> None:
    await until(shop.promotions, lambda one: "dev" in one, 120, closely=True)


MOMENTS = (_begun, _running, _built, _promoting)


@pytest.mark.parametrize(
    "depose",
    [ReplicaOnItsWay.cut_off, ReplicaOnItsWay.stop],
    ids=["cut off", "stopped and woken late"],
)
async def test_a_deposed_leader_writes_nothing(
    shop: PromotedBuilds, depose: Callable[[ReplicaOnItsWay], None]
) -> None:
    for moment in MOMENTS:
        await shop.build_begins()
        await moment(shop)
        depose(shop.leader)
        await until(shop.other.server.role, lambda role: "role: leader" in role)
        settled = await shop.until_settled()

        shop.leader.come_back()
        await shop.until_deposed()
        assert await shop.versions() == settled

    builds = (await shop.store.list(Build, Selector(NAMESPACE))).items
    assert {one.status.phase for one in builds} == {BuildPhase.COMPLETE}
    history = (await shop.store.get(ImageStream, NAMESPACE, "app")).status.tag("latest")
    assert history is not None
    assert len({one.image for one in history.items}) == len(history.items) == len(MOMENTS)
    promoted = (await shop.store.list(Promotion, Selector(NAMESPACE))).items
    assert {one.status.phase for one in promoted} == {"Succeeded"}
    times = Counter(one.name for one in promoted)
    assert len(times) == len(MOMENTS) * len(STAGES)
    for stage in STAGES:
        found = await shop.store.get(Deployment, NAMESPACE, stage)
        assert found.generation == 1 + len(MOMENTS)  # each image was set once
