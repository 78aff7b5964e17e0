"""Writes what is used of each ResourceQuota into its status."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from decimal import Decimal

from upwell.api.conditions import AS_EXPECTED, NEARLY_USED, set_condition
from upwell.api.core import ResourceQuota, ResourceQuotaStatus
from upwell.api.meta import Condition, ObjectKey
from upwell.controller import Controller, ObjectCache, Result, Watch
from upwell.policy.quotas.usage import (
    Usage,
    charge_of,
    counted_kinds,
    nearly_used,
    readable,
    shown,
    total,
)
from upwell.store.interface import NotFoundError, Selector, Store

_SECONDS = 5.0
"""Between two counts; what is admitted is counted anew each time."""

type Measure = Callable[[str], Awaitable[int]]
"""Returns what a namespace has of something that no object takes."""


class ResourceQuotas:
    """Counts what a namespace holds.

    `measures` are by the names that quotas have for what is measured.
    """

    def __init__(
        self, store: Store, measures: Mapping[str, Measure], clock: Callable[[], datetime]
    ) -> None:
        self._store = store
        self._measures = measures
        self._clock = clock

    async def reconcile(self, key: ObjectKey) -> Result:
        """Count what the quota that `key` names limits."""
        try:
            quota = await self._store.get(ResourceQuota, key.namespace, key.name)
        except NotFoundError:
            return Result()
        used = await self._used(quota)
        hard = quota.spec.hard
        status = ResourceQuotaStatus(
            hard=hard,
            used={name: shown(name, used.get(name, Decimal(0))) for name in hard},
            conditions=set_condition(
                quota.status.conditions, _condition(readable(hard), used), self._clock()
            ),
        )
        if status != quota.status:
            await self._store.update_status(quota.model_copy(update={"status": status}))
        return Result(requeue_after=_SECONDS)

    async def _used(self, quota: ResourceQuota) -> Usage:
        place = Selector(quota.namespace)
        charges = [
            charge_of(resource)
            for kind in counted_kinds(quota.spec.hard)
            for resource in (await self._store.list(kind, place)).items
        ]
        measured = {
            name: Decimal(await measure(quota.namespace))
            for name, measure in self._measures.items()
            if name in quota.spec.hard
        }
        return {**total(charges), **measured}


def _condition(hard: Usage, used: Usage) -> Condition:
    names = nearly_used(hard, used)
    if not names:
        return Condition(type=NEARLY_USED, status="False", reason=AS_EXPECTED)
    message = (
        f"more than 80 % is used of {', '.join(names)}: see status.used; delete what is not needed,"
        " or have the quota raised, before something is refused"
    )
    return Condition(type=NEARLY_USED, status="True", reason="QuotaNearlyUsed", message=message)


def resource_quota_controller(
    cache: ObjectCache, measures: Mapping[str, Measure], clock: Callable[[], datetime]
) -> Controller:
    """Return the controller that counts what is used of quotas."""
    watches = (Watch(ResourceQuota),)
    quotas = ResourceQuotas(cache.store, measures, clock)
    return Controller("resource-quotas", quotas, cache, watches, workers=2)
