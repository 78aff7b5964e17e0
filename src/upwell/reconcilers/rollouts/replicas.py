"""Instances as the rollout policy sees them: what the runtime and the router say, together."""

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

from upwell.policy.rollouts.steps import Replica
from upwell.reconcilers.rollouts.instance import index_of
from upwell.reconcilers.rollouts.machine import RolloutPorts
from upwell.workload.interface import Instance, State, WorkloadError

_COMING_OR_THERE = frozenset({State.PULLING, State.INITIALIZING, State.RUNNING})


class ReplicaReader:
    """Reads replicas, and which of them have nothing left to do."""

    def __init__(self, machine: RolloutPorts, clock: Callable[[], datetime]) -> None:
        self._router = machine.router
        self._traffic = machine.traffic
        self._clock = clock

    async def read(
        self, instances: Iterable[Instance], tried: Iterable[str], drain: timedelta
    ) -> list[Replica]:
        """Return the instances as replicas.

        `tried` are those whose start this process began; one that has drained for `drain` counts
        as drained, whatever it still does.
        """
        known = frozenset(tried)
        return [
            Replica(
                name=one.name,
                index=index_of(one.name),
                revision="" if one.foreign else one.revision,
                started_at=one.started_at,
                ready_since=(one.ready_since or one.started_at) if one.ready else None,
                ended=one.state not in _COMING_OR_THERE,
                interrupted=one.state is State.CREATED and one.name not in known,
                restarts=one.restarts,
                message=one.message,
                drained=await self._is_drained(one.name, drain),
            )
            for one in instances
        ]

    async def _is_drained(self, name: str, limit: timedelta) -> bool:
        since = self._traffic.quiet_since(name)
        if since is None:
            return False
        if self._clock() - since >= limit:
            return True
        try:
            open_sessions = [
                (await self._router.sessions(backend)).get(name, 0)
                for backend in self._traffic.backends(name)
            ]
        except WorkloadError:
            return False  # it is asked again, until the time is over
        return not any(open_sessions)
