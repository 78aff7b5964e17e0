"""Writes what is used of each ResourceQuota into its status."""

from upwell.api.core import ResourceQuota, ResourceQuotaStatus
from upwell.api.meta import ObjectKey
from upwell.controller import Controller, ObjectCache, Result, Watch
from upwell.policy.quotas.usage import charge_of, counted_kinds, shown, total
from upwell.store.interface import NotFoundError, Selector, Store

_SECONDS = 10.0
"""Between two counts; what is admitted is counted anew each time."""


class ResourceQuotas:
    """Counts what a namespace holds."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def reconcile(self, key: ObjectKey) -> Result:
        """Count what the quota that `key` names limits."""
        try:
            quota = await self._store.get(ResourceQuota, key.namespace, key.name)
        except NotFoundError:
            return Result()
        place = Selector(quota.namespace)
        charges = [
            charge_of(resource)
            for kind in counted_kinds(quota.spec.hard)
            for resource in (await self._store.list(kind, place)).items
        ]
        used = total(charges)
        status = ResourceQuotaStatus(
            hard=quota.spec.hard,
            used={name: shown(used[name]) if name in used else "0" for name in quota.spec.hard},
        )
        if status != quota.status:
            await self._store.update_status(quota.model_copy(update={"status": status}))
        return Result(requeue_after=_SECONDS)


def resource_quota_controller(cache: ObjectCache) -> Controller:
    """Return the controller that counts what is used of quotas."""
    watches = (Watch(ResourceQuota),)
    return Controller("resource-quotas", ResourceQuotas(cache.store), cache, watches, workers=1)
