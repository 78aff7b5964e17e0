"""Events about images that a leader has set, when it is killed between the two."""

from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.support.cluster.workloads import image, manifest, move_tag
from tests.support.faults.on_demand import on_demand
from tests.support.installation.installation import until
from tests.support.kubernetes.cluster import KitCluster
from tests.support.kubernetes.namespaces import leave_empty
from tests.support.kubernetes.server_replicas import ServerReplica

from upwell.api.apps import Deployment
from upwell.api.codec import decode_as
from upwell.api.core import Event
from upwell.store.interface import Selector
from upwell.store.kubernetes import KubernetesStore

NAMESPACE = "shop"
SETTINGS = """\
on = "kubernetes"
[kubernetes]
namespaces = ["shop"]
lease-namespace = "shop"
"""
MANY = 30

pytestmark = pytest.mark.timeout(300)


@dataclass
class DeploymentsOfReplicas:
    """Deployments that follow a tag, and two servers."""

    store: KubernetesStore
    one: ServerReplica
    two: ServerReplica

    async def images(self) -> Counter[str]:
        found = (await self.store.list(Deployment, Selector(NAMESPACE))).items
        return Counter(one.spec.template.spec.containers[0].image for one in found)

    async def told(self) -> list[tuple[str, str]]:
        """Return which Deployments were told of, and when that was."""
        found = (await self.store.list(Event, Selector(NAMESPACE))).items
        about = [one for one in found if one.reason == "ImageUpdated"]
        return sorted((one.involved_object.name, str(one.last_timestamp)) for one in about)


@pytest.fixture
async def followers(cluster: KitCluster, tmp_path: Path) -> AsyncIterator[DeploymentsOfReplicas]:
    async with cluster.store(NAMESPACE) as store:
        (tmp_path / "upwell.toml").write_text(SETTINGS)
        one, two = (ServerReplica(tmp_path / name, cluster.kubeconfig) for name in ("one", "two"))
        try:
            for number in range(MANY):
                declared = manifest(Deployment, f"web-{number}")
                await store.create(decode_as(Deployment, declared))
            one.launch()
            await one.until_it_leads()
            two.launch()
            await until(two.role, bool)
            yield DeploymentsOfReplicas(store, one, two)
        finally:
            for server in (one, two):
                server.kill()
            await leave_empty(store, NAMESPACE)


@on_demand(
    "tests/unit/reconcilers/cluster_rollouts/test_events_of_writes.py"
    "::test_the_next_leader_tells_once_of_a_write_that_the_last_one_has_not_told"
)
async def test_a_killed_leader_takes_no_event_of_images_with_it(
    followers: DeploymentsOfReplicas,
) -> None:
    await move_tag(followers.store, "good")
    await until(followers.images, lambda found: bool(found[image("good")]), closely=True)
    followers.one.kill()
    await followers.two.until_it_leads()
    await until(followers.images, lambda found: found[image("good")] == MANY)
    told = await until(followers.told, lambda found: len(found) >= MANY)
    assert len({name for name, _ in told}) == MANY

    followers.one.launch()
    await until(followers.one.role, bool)
    followers.two.kill()
    await followers.one.until_it_leads()
    await move_tag(followers.store, "better")
    again = await until(followers.told, lambda found: len(found) >= 2 * MANY)
    assert len(again) == 2 * MANY
    assert set(told) <= set(again), "none was told a second time"
