"""status.used of a ResourceQuota."""

import pytest
from tests.support.server.api_server import START

from upwell.api.apps import Deployment, DeploymentSpec
from upwell.api.conditions import NEARLY_USED, find
from upwell.api.core import IMAGE_STORAGE, ResourceQuota, ResourceQuotaSpec, Secret
from upwell.api.meta import ObjectKey, ObjectMeta
from upwell.policy.health.judgement import faults_of
from upwell.reconcilers.quotas.reconciler import ResourceQuotas
from upwell.store.memory import MemoryStore

KEY = ObjectKey("ResourceQuota", "shop", "compute")
GIB = 1024**3


class CountedNamespace:
    """A namespace with one quota, and images of a test's choice."""

    def __init__(self) -> None:
        self.store = MemoryStore(lambda: START)
        self.image_bytes = 0
        self.quotas = ResourceQuotas(self.store, {IMAGE_STORAGE: self._images}, lambda: START)

    async def _images(self, namespace: str) -> int:
        return self.image_bytes if namespace == "shop" else 0

    async def limit(self, **hard: str | int) -> None:
        meta = ObjectMeta(name="compute", namespace="shop")
        spec = ResourceQuotaSpec(hard=hard)
        await self.store.create(ResourceQuota(metadata=meta, spec=spec))

    async def counted(self) -> ResourceQuota:
        assert (await self.quotas.reconcile(KEY)).requeue_after
        return await self.store.get(ResourceQuota, "shop", "compute")


@pytest.fixture
def shop() -> CountedNamespace:
    return CountedNamespace()


async def test_what_is_used_is_counted_anew(shop: CountedNamespace) -> None:
    await shop.limit(pods="10", secrets=2)
    store = shop.store

    async def used() -> object:
        found = await shop.counted()
        assert found.status.hard == {"pods": "10", "secrets": 2}
        return found.status.used

    assert await used() == {"pods": "0", "secrets": "0"}
    web = ObjectMeta(name="web", namespace="shop")
    await store.create(Deployment(metadata=web, spec=DeploymentSpec(replicas=3)))
    await store.create(Secret(metadata=web))
    await store.create(Secret(metadata=ObjectMeta(name="web", namespace="bank")))
    assert await used() == {"pods": "3", "secrets": "1"}
    version = (await store.get(ResourceQuota, "shop", "compute")).resource_version
    await used()  # the same again writes nothing
    assert (await store.get(ResourceQuota, "shop", "compute")).resource_version == version
    await store.delete(Deployment, "shop", "web")
    assert await used() == {"pods": "0", "secrets": "1"}
    await store.delete(ResourceQuota, "shop", "compute")
    assert (await shop.quotas.reconcile(KEY)).requeue_after is None


async def test_what_no_object_takes_is_measured(shop: CountedNamespace) -> None:
    await shop.limit(**{IMAGE_STORAGE: "10Gi"})
    shop.image_bytes = 3 * GIB // 2
    assert (await shop.counted()).status.used == {IMAGE_STORAGE: "1536Mi"}


async def test_little_that_is_left_is_a_fault_long_before(shop: CountedNamespace) -> None:
    limits: dict[str, str | int] = {IMAGE_STORAGE: "10Gi", "secrets": 1}
    await shop.limit(**limits)
    await shop.store.create(Secret(metadata=ObjectMeta(name="one", namespace="shop")))
    shop.image_bytes = 8 * GIB
    assert faults_of(await shop.counted()) == ()  # one of one is as it is meant to be
    shop.image_bytes += 1
    [fault] = faults_of(await shop.counted())
    assert (fault.reason, fault.since) == ("QuotaNearlyUsed", START)
    assert f"more than 80 % is used of {IMAGE_STORAGE}:" in fault.message
    await shop.store.create(Secret(metadata=ObjectMeta(name="two", namespace="shop")))
    [fault] = faults_of(await shop.counted())
    assert f"{IMAGE_STORAGE}" in fault.message
    assert "secrets" in fault.message  # more than there may be
    shop.image_bytes = 0
    await shop.store.delete(Secret, "shop", "two")
    told = find((await shop.counted()).status.conditions, NEARLY_USED)
    assert told is not None
    assert told.status == "False"
