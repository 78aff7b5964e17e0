"""Runs the probes of every running container, and remembers how they stand."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from upwell.workload.clock import Clock
from upwell.workload.interface import Probe, RuntimeUnavailableError
from upwell.workload.observation import ContainerFacts
from upwell.workload.podman_api import NotFoundError, PodmanApi
from upwell.workload.probes import Outcome, ProbeClient, ProbeTally, watch
from upwell.workload.records import RecordStore

_log = logging.getLogger(__name__)

_UNHEALTHY_GRACE_SECONDS = 10
"""What a container that fails its liveness probe gets to end by itself."""


@dataclass(frozen=True, slots=True)
class Target:
    """A running container, and the address at which its instance answers."""

    container: ContainerFacts
    address: str


class Health:
    """One task for each probe of each running container.

    Readiness is written to the instance's record when it turns: after a restart of this process
    a ready instance is ready at once, and keeps its traffic while it is probed anew.
    `turned` is called after every such turn.
    """

    def __init__(
        self, api: PodmanApi, records: RecordStore, clock: Clock, turned: Callable[[], None]
    ) -> None:
        self.complaints: dict[str, str] = {}
        """Container ID -> what the readiness probe said last, while it does not succeed."""
        self._api = api
        self._records = records
        self._clock = clock
        self._turned = turned
        self._client = ProbeClient()
        self._tasks: dict[str, list[asyncio.Task[None]]] = {}

    async def close(self) -> None:
        """Close the probes' connections; the tasks end with their group."""
        await self._client.close()

    def follow(self, targets: Sequence[Target], group: asyncio.TaskGroup) -> None:
        """Probe exactly `targets` from now on, with tasks of `group`."""
        wanted = {target.container.id: target for target in targets}
        for container_id in self._tasks.keys() - wanted.keys():
            for task in self._tasks.pop(container_id):
                task.cancel()
            self.complaints.pop(container_id, None)
        for container_id in wanted.keys() - self._tasks.keys():
            target = wanted[container_id]
            record = self._records.load(target.container.instance)
            probes = record.container(target.container.name) if record else None
            self._tasks[container_id] = []
            if probes and probes.readiness:
                task = group.create_task(self._watch_readiness(target, probes.readiness))
                self._tasks[container_id].append(task)
            if probes and probes.liveness:
                task = group.create_task(self._watch_liveness(target, probes.liveness))
                self._tasks[container_id].append(task)

    async def _watch_readiness(self, target: Target, probe: Probe) -> None:
        container = target.container
        record = self._records.load(container.instance)
        adopted = record is not None and container.id in record.ready_since

        async def attempt() -> Outcome:
            outcome = await self._attempt(target, probe)
            if outcome.success:
                self.complaints.pop(container.id, None)
            else:
                self.complaints[container.id] = f"readiness probe: {outcome.complaint}"
            return outcome

        async def turned(outcome: Outcome) -> None:
            current = self._records.load(container.instance)
            if current is not None:
                since = self._clock.now() if outcome.success else None
                self._records.save(current.with_readiness(container.id, since))
            self._turned()

        if not adopted:
            await self._wait_initial_delay(target, probe)
        await watch(ProbeTally(probe, passing=adopted), attempt, turned, self._clock)

    async def _watch_liveness(self, target: Target, probe: Probe) -> None:
        async def turned(outcome: Outcome) -> None:
            if not outcome.success:
                await self._end(target.container, outcome.complaint)

        await self._wait_initial_delay(target, probe)
        attempt = partial(self._attempt, target, probe)
        await watch(ProbeTally(probe, passing=True), attempt, turned, self._clock)

    async def _attempt(self, target: Target, probe: Probe) -> Outcome:
        async def execute(command: tuple[str, ...]) -> tuple[int, bytes]:
            try:
                return await self._api.execute(target.container.id, command)
            except NotFoundError as error:
                raise RuntimeUnavailableError(str(error)) from error

        return await self._client.attempt(probe, target.address, execute)

    async def _wait_initial_delay(self, target: Target, probe: Probe) -> None:
        started = target.container.started_at or self._clock.now()
        elapsed = (self._clock.now() - started).total_seconds()
        await self._clock.sleep(max(0.0, probe.initial_delay - elapsed))

    async def _end(self, container: ContainerFacts, complaint: str) -> None:
        """End a container that hangs: who owns it starts it anew, as after any other end."""
        failure = f"container {container.name}: liveness probe failed: {complaint}"
        record = self._records.load(container.instance)
        if record is not None:
            self._records.save(replace(record, failure=failure))
        _log.warning(
            "liveness probe failed",
            extra={"instance": container.instance, "container": container.name},
        )
        try:
            await self._api.stop(container.id, _UNHEALTHY_GRACE_SECONDS)
        except (NotFoundError, RuntimeUnavailableError) as error:
            _log.warning("container not stopped", extra={"why": str(error)})
        self._turned()
