"""Instances as the rollout policy sees them: what the runtime and the router say, together."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime, timedelta

from upwell.policy.rollouts.instance import replica_of
from upwell.policy.rollouts.rollout import Replica
from upwell.reconcilers.rollouts.execution import StepExecutor
from upwell.reconcilers.rollouts.machine import RolloutPorts
from upwell.router.interface import RouterUnavailableError
from upwell.workload.interface import Instance


class ReplicaReader:
    """Reads replicas, and which of them have nothing left to do."""

    def __init__(self, machine: RolloutPorts, clock: Callable[[], datetime]) -> None:
        self._router = machine.router
        self._traffic = machine.traffic
        self._clock = clock
        self._begun = clock()

    async def read(
        self, instances: Iterable[Instance], execution: StepExecutor, drain: timedelta
    ) -> list[Replica]:
        """Return the instances as replicas.

        One that has drained for `drain` counts as drained, whatever it still does.
        """
        stopping = execution.stops.names
        return [
            replace(
                replica_of(
                    one,
                    drained=await self._is_drained(one.name, drain),
                ),
                stopping=one.name in stopping,
                of_earlier_process=one.started_at < self._begun,
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
        except RouterUnavailableError:
            return False  # it is asked again, until the time is over
        return not any(open_sessions)
