"""The controller of rollouts: what it watches, and what else wakes it."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial
from itertools import count
from typing import Protocol

from upwell.api.core import ConfigMap, Secret
from upwell.api.meta import ObjectKey, Resource
from upwell.controller import Controller, Watch, of_both
from upwell.policy.rollouts.instance import key_of
from upwell.policy.rollouts.pod_template import SourceName
from upwell.policy.rollouts.settings import WORKLOADS
from upwell.reconcilers.rollouts.images import TemplateImages
from upwell.reconcilers.rollouts.index import WorkloadIndex
from upwell.reconcilers.rollouts.instances import by_owner
from upwell.reconcilers.rollouts.machine import RolloutPorts
from upwell.reconcilers.rollouts.reconciler import RolloutReconciler
from upwell.workload.errors import WorkloadError
from upwell.workload.instance_spec import Owner
from upwell.workload.interface import Instance

log = logging.getLogger(__name__)

ORPHANS_PERIOD = 60.0
"""Seconds between two looks for instances that nobody owns, or whose change was missed."""
_LOOKS_FOR_ALL = 10
"""In each such look everything that has instances is looked at, changed or not."""
_RECONNECT_PAUSE = 1.0


class InstanceSource(Protocol):
    """Lists instances, and tells of changes. Both raise WorkloadError."""

    async def instances(self) -> Sequence[Instance]:
        """Return all."""
        ...

    def changes(self) -> AsyncIterator[Owner]:
        """Yield owners whose instances changed, for ever."""
        ...


def rollout_controller(
    index: WorkloadIndex,
    machine: RolloutPorts,
    images: TemplateImages,
    clock: Callable[[], datetime],
    *,
    orphans_period: float = ORPHANS_PERIOD,
) -> Controller:
    """Return the controller of all workloads."""

    def users_of(source: Resource) -> Iterable[ObjectKey]:
        return index.users_of(source.namespace, SourceName(source.KIND.kind, source.name))

    rollouts = RolloutReconciler(index.cache.store, machine, images, clock)
    return Controller(
        "rollouts",
        rollouts,
        index.cache,
        (
            *(Watch(kind) for kind in WORKLOADS),
            Watch(Secret, of_both(users_of)),
            Watch(ConfigMap, of_both(users_of)),
        ),
        feeds=(
            partial(changed_owners, machine.runtime),
            machine.traffic.for_rollouts.keys,
            partial(owners_of_instances, machine.runtime, orphans_period),
        ),
        lifespan=rollouts.lifespan,
    )


async def changed_owners(runtime: InstanceSource) -> AsyncIterator[ObjectKey]:
    """Yield the owners whose instances changed, for ever."""
    while True:
        try:
            async for owner in runtime.changes():
                yield key_of(owner)
        except WorkloadError as error:
            log.warning("lost the runtime's changes", extra={"error": error})
        await asyncio.sleep(_RECONNECT_PAUSE)


async def owners_of_instances(
    runtime: InstanceSource, period: float = ORPHANS_PERIOD
) -> AsyncIterator[ObjectKey]:
    """Yield owners at once and periodically: one that is gone leaves instances behind.

    All come in the first look and in each tenth. In the others only those come whose instances are
    not as they were at the look before: their change may have been missed.
    """
    known: Mapping[ObjectKey, Sequence[Instance]] = {}
    for number in count():
        if number % _LOOKS_FOR_ALL == 0:
            known = {}
        try:
            found = by_owner(await runtime.instances())
        except WorkloadError as error:
            log.warning("cannot list instances", extra={"error": error})
        else:
            owners = known.keys() | found.keys()
            for owner in sorted(one for one in owners if known.get(one) != found.get(one)):
                yield owner
            known = found
        await asyncio.sleep(period)
