"""Writes what is reported of each component into its ClusterOperator."""

from collections.abc import AsyncIterator, Callable
from datetime import datetime

from upwell.api.cluster_operator import ClusterOperator
from upwell.api.meta import ObjectKey, ObjectMeta
from upwell.controller import Controller, ObjectCache, Result, Watch
from upwell.machine.backoff import Backoff
from upwell.machine.components import Components, ComponentState
from upwell.reconcilers.components.status import component_status
from upwell.store.interface import AlreadyExistsError, NotFoundError, Store

_BACKOFF = Backoff(first=0.5, longest=10)
"""A store that refuses (a full disk) is itself a fault to report, as soon as it takes it."""


class ComponentReconciler:
    """Keeps each object equal to the last report; a slow store misses no fault."""

    def __init__(
        self, store: Store, components: Components, version: str, clock: Callable[[], datetime]
    ) -> None:
        self._store = store
        self._components = components
        self._version = version
        self._clock = clock

    async def reconcile(self, key: ObjectKey) -> Result:
        """Write the state of the component that `key` names."""
        state = next((one for one in self._components.states() if one.name == key.name), None)
        if state is None:  # of another version of the server
            return Result()
        operator = await self._operator(key.name)
        status = component_status(operator.status, state, self._version, self._clock())
        if status != operator.status:
            await self._store.update_status(operator.with_status(status))
        return Result()

    async def reported(self) -> AsyncIterator[ObjectKey]:
        """Yield the key of each component that may have changed, for ever."""
        seen: dict[str, ComponentState] = {}
        async for states in self._components.changes():
            for state in states:
                if seen.get(state.name) != state:
                    seen[state.name] = state
                    yield ObjectKey(ClusterOperator.KIND.kind, "", state.name)

    async def _operator(self, name: str) -> ClusterOperator:
        try:
            return await self._store.get(ClusterOperator, "", name)
        except NotFoundError:
            new = ClusterOperator(metadata=ObjectMeta(name=name))
        try:
            return await self._store.create(new)
        except AlreadyExistsError:
            return await self._store.get(ClusterOperator, "", name)


def component_controller(
    components: Components, cache: ObjectCache, version: str, clock: Callable[[], datetime]
) -> Controller:
    """Return the controller that writes the states of components."""
    reconciler = ComponentReconciler(cache.store, components, version, clock)
    watches = (Watch(ClusterOperator),)
    feeds = (reconciler.reported,)
    return Controller(
        "components", reconciler, cache, watches, feeds=feeds, workers=1, backoff=_BACKOFF
    )
