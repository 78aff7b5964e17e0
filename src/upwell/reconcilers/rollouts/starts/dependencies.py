"""Look at the Deployments that a workload waits for before its first instance starts."""

from collections.abc import Callable, Sequence
from datetime import datetime

from upwell.api.apps import Deployment, RevisionRecord
from upwell.policy.rollouts.instance import owner_of
from upwell.policy.rollouts.rollout import Replica
from upwell.policy.rollouts.settings import Workload
from upwell.policy.rollouts.starts.dependencies import PATIENCE, Dependency, dependencies_of
from upwell.policy.rollouts.steps import StartReplica, Step
from upwell.policy.rollouts.summary import desired_replicas
from upwell.store.interface import NotFoundError, Store
from upwell.workload.interface import Runtime


class Dependencies:
    """Says what of a workload's dependencies is not there yet."""

    def __init__(self, store: Store, runtime: Runtime, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._runtime = runtime
        self._clock = clock

    async def missing(
        self,
        workload: Workload,
        record: RevisionRecord,
        replicas: Sequence[Replica],
        steps: Sequence[Step],
    ) -> tuple[Dependency, ...]:
        """Return what the first instance to run has to wait for; nothing where one runs."""
        wanted = dependencies_of(workload)
        starts = any(isinstance(step, StartReplica) for step in steps)
        if not wanted or not starts or not all(one.ended for one in replicas):
            return ()
        now = self._clock()
        if now >= max(self._runtime.well_since(), record.created) + PATIENCE:
            return ()
        instances = [one for one in await self._runtime.instances() if not one.role]
        found = []
        for one in wanted:
            other = await self._find(workload.namespace, one.name)
            if other is None or other.key == workload.key or not desired_replicas(other):
                continue  # nobody will start it
            if not one.is_met((i for i in instances if i.owner == owner_of(other.key)), now):
                found.append(one)
        return tuple(found)

    async def _find(self, namespace: str, name: str) -> Deployment | None:
        try:
            return await self._store.get(Deployment, namespace, name)
        except NotFoundError:
            return None
