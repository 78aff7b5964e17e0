"""status.used of a ResourceQuota."""

from tests.support.server.api_server import START

from upwell.api.apps import Deployment, DeploymentSpec
from upwell.api.core import ResourceQuota, ResourceQuotaSpec, Secret
from upwell.api.meta import ObjectKey, ObjectMeta
from upwell.reconcilers.quotas.reconciler import ResourceQuotas
from upwell.store.memory import MemoryStore


async def test_what_is_used_is_counted_anew() -> None:
    store = MemoryStore(lambda: START)
    quotas = ResourceQuotas(store)
    meta = ObjectMeta(name="compute", namespace="shop")
    hard: dict[str, str | int] = {"pods": "10", "secrets": 2}
    await store.create(ResourceQuota(metadata=meta, spec=ResourceQuotaSpec(hard=hard)))
    key = ObjectKey("ResourceQuota", "shop", "compute")

    async def used() -> object:
        assert (await quotas.reconcile(key)).requeue_after
        found = await store.get(ResourceQuota, "shop", "compute")
        assert found.status.hard == hard
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
    assert (await quotas.reconcile(key)).requeue_after is None
