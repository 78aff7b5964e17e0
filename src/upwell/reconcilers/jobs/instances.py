"""Instances of Jobs and Pods: room for them, their end, and what wakes their reconcilers."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from functools import partial

from upwell.api.meta import ObjectKey, Resource
from upwell.controller import Controller, ObjectCache, Result, Watch
from upwell.machine.disk import DiskPressureError
from upwell.policy.rollouts.instance import key_of
from upwell.reconcilers.rollouts import RolloutPorts, TemplateImages
from upwell.reconcilers.rollouts.instances import OwnedInstances
from upwell.reconcilers.rollouts.loading import Revisions
from upwell.reconcilers.rollouts.stops import PendingStops
from upwell.reconcilers.rollouts.wiring import changed_owners, owners_of_instances
from upwell.store.interface import Store
from upwell.workload.interface import Instance


class InstanceReconciler(ABC):
    """Base of reconcilers whose objects have instances of one revision, which end."""

    def __init__(
        self,
        store: Store,
        machine: RolloutPorts,
        images: TemplateImages,
        clock: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._runtime = machine.runtime
        self.instances = OwnedInstances(machine.runtime)
        self._timeline = machine.timeline
        self._pressure = machine.pressure
        self._authority = machine.authority
        self._images = images
        self._revisions = Revisions(store, images, machine.api_authority)
        self._clock = clock
        self._stops = PendingStops(machine.runtime)

    def lifespan(self) -> AbstractAsyncContextManager[None]:
        """Return the block in which everything is done; leaving it ends what is under way."""
        return self._stops.lifespan()

    @abstractmethod
    async def reconcile(self, key: ObjectKey) -> Result:
        """Take the object that `key` names further."""

    def _need_room(self) -> None:
        """Raise DiskPressureError while there is no room for the images of what has not begun."""
        if why := self._pressure():
            raise DiskPressureError(why)

    async def _stop(self, instances: Sequence[Instance], grace: float) -> bool:
        """Begin to stop; return True if all are gone."""
        names = {one.name for one in instances}
        for owner in {one.owner for one in instances}:
            self.instances.forget(key_of(owner))
        for error in await self._stops.stop(names, grace):
            raise error
        return not names & self._stops.names


def instance_controller(
    name: str, kind: type[Resource], reconciler: InstanceReconciler, cache: ObjectCache
) -> Controller:
    """Return the controller of a kind, which changes of its instances wake too."""
    feeds = (
        partial(changed_owners, reconciler.instances),
        partial(owners_of_instances, reconciler.instances),
    )
    return Controller(
        name,
        reconciler,
        cache,
        (Watch(kind),),
        feeds=feeds,
        workers=2,
        lifespan=reconciler.lifespan,
    )
