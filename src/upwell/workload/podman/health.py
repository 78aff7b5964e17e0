"""Runs the probes of every running container, and remembers how they stand."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from upwell.machine.clock import Clock
from upwell.machine.tasks import first_error, side_by_side
from upwell.workload.errors import RuntimeUnavailableError
from upwell.workload.instance_spec import Action, ExecProbe, Pause, ProbeSpec
from upwell.workload.podman.api.client import PodmanApi
from upwell.workload.podman.api.commands import ContainerCommands
from upwell.workload.podman.api.connection import PodmanNotFoundError, PodmanRefusedError
from upwell.workload.podman.api.faults import InstanceFaults
from upwell.workload.podman.containers.facts import ContainerFacts
from upwell.workload.podman.probes import ProbeClient, ProbeCounter, ProbeResult, watch
from upwell.workload.podman.records import ContainerRecord, InstanceRecord, RecordStore

_log = logging.getLogger(__name__)

_UNHEALTHY_GRACE_SECONDS = 10
"""Time that a container which fails its liveness probe gets to end by itself."""
_LEAST_GRACE_SECONDS = 2.0
"""Least time to end in, even if preStop has used up all (as the kubelet grants it)."""
_ACTION_SECONDS = 3600.0
_EAGER_SECONDS = 0.25
_RETRY_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class ProbeTarget:
    """A running container, and the address at which its instance answers."""

    container: ContainerFacts
    address: str


class Health:
    """One task for each running container, which asks all of its probes.

    Readiness is written to the instance's record when it turns: after a restart of this process
    a ready instance is ready at once, and keeps its traffic while it is probed anew.
    `turned` is called after every such turn.
    """

    def __init__(
        self,
        api: PodmanApi,
        commands: ContainerCommands,
        records: RecordStore,
        clock: Clock,
        turned: Callable[[], None],
    ) -> None:
        self.complaints: dict[str, str] = {}
        """Container ID -> what the readiness probe said last, while it does not succeed."""
        self._api = api
        self._commands = commands
        self._records = records
        self._clock = clock
        self._turned = turned
        self._client = ProbeClient()
        self._tasks: dict[str, list[asyncio.Task[None]]] = {}
        self._faults = InstanceFaults()

    async def close(self) -> None:
        """Close the probes' connections; the tasks end with their group."""
        await self._client.close()

    def follow(self, targets: Sequence[ProbeTarget], group: asyncio.TaskGroup) -> None:
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
            if probes and not probes.init:
                task = group.create_task(self._keep_watching(target, probes))
                self._tasks[container_id].append(task)

    async def before_stop(
        self, containers: Sequence[ContainerFacts], grace_seconds: float
    ) -> float:
        """Do what containers want done before they are stopped; return the seconds that are left.

        A failure keeps nothing from being stopped (core/v1 Lifecycle).
        """
        begun = self._clock.now()
        address = next((one.address for one in containers if one.address), "")
        async with side_by_side() as group:
            for container in containers:
                record = self._records.load(container.instance)
                known = record.container(container.name) if record else None
                if container.running and known and known.pre_stop and grace_seconds > 0:
                    work = self._act(ProbeTarget(container, address), known.pre_stop, grace_seconds)
                    group.create_task(work)
        spent = (self._clock.now() - begun).total_seconds()
        return max(grace_seconds - spent, min(grace_seconds, _LEAST_GRACE_SECONDS))

    async def _keep_watching(self, target: ProbeTarget, known: ContainerRecord) -> None:
        """Follow a container; a fault of ours, or of the disk, ends no other task."""
        while True:
            try:
                return await self._watch_container(target, known)
            except Exception as error:  # noqa: BLE001 - told of this instance, and begun anew
                first = first_error(error)
                self._faults.tell(target.container.instance, first, "instance not probed")
                await self._clock.sleep(_RETRY_SECONDS)

    async def _watch_container(self, target: ProbeTarget, known: ContainerRecord) -> None:
        """Follow a container through its start, then ask it for ever."""
        if not await self._finish_start(target, known):
            return
        async with asyncio.TaskGroup() as group:
            if known.readiness:
                group.create_task(self._watch_readiness(target, known.readiness))
            if known.liveness:
                group.create_task(self._watch_liveness(target, known.liveness))

    async def _finish_start(self, target: ProbeTarget, known: ContainerRecord) -> bool:
        """Do what follows the start, and wait for the startup probe; False when it was ended."""
        container = target.container
        record = self._records.load(container.instance)
        done = record.post_started if record else ()
        if known.post_start and container.id not in done:
            # At least once, as the kubelet does it: again when the runtime could not do it.
            while not (outcome := await self._act(target, known.post_start, None)).conclusive:
                await self._clock.sleep(_RETRY_SECONDS)
            if not outcome.success:
                await self._end(container, f"postStart failed: {outcome.complaint}")
                return False
            self._change(container, lambda now: now.with_post_start(container.id))
        adopted = record is not None and container.id in record.ready_since
        if known.startup is None or adopted:
            return True
        outcome = await self._wait_for_startup(target, known.startup)
        if not outcome.success:
            await self._end(container, f"startup probe failed: {outcome.complaint}")
            return False
        if known.readiness is None:
            self.complaints.pop(container.id, None)
            since = self._clock.now()
            self._change(container, lambda now: now.with_readiness(container.id, since))
        return True

    async def _wait_for_startup(self, target: ProbeTarget, probe: ProbeSpec) -> ProbeResult:
        """Return when the probe has succeeded, or the last failure when its time is over."""
        await self._wait_initial_delay(target, probe)
        began = self._clock.now()
        while True:
            outcome = await self._attempt(target, probe)
            if outcome.success:
                return outcome
            self.complaints[target.container.id] = f"startup probe: {outcome.complaint}"
            waited = (self._clock.now() - began).total_seconds()
            if outcome.conclusive and waited >= probe.period * (probe.failure_threshold - 1):
                return outcome
            # Nothing depends on failures being counted slowly; a rollout waits for the first good.
            await self._clock.sleep(min(probe.period, _EAGER_SECONDS))

    async def _act(self, target: ProbeTarget, action: Action, seconds: float | None) -> ProbeResult:
        """Do `action`, for at most so many seconds."""
        if isinstance(action, Pause):
            wait = action.seconds if seconds is None else min(action.seconds, seconds)
            await self._clock.sleep(wait)
            return ProbeResult(success=True)
        patience = _ACTION_SECONDS if seconds is None else seconds
        return await self._attempt(target, ProbeSpec(action, timeout=patience))

    def _change(
        self, container: ContainerFacts, change: Callable[[InstanceRecord], InstanceRecord]
    ) -> None:
        self._records.change(container.instance, change)
        self._turned()

    async def _watch_readiness(self, target: ProbeTarget, probe: ProbeSpec) -> None:
        container = target.container
        record = self._records.load(container.instance)
        adopted = record is not None and container.id in record.ready_since

        async def attempt() -> ProbeResult:
            outcome = await self._attempt(target, probe)
            if outcome.success:
                self.complaints.pop(container.id, None)
            elif outcome.conclusive:
                self.complaints[container.id] = f"readiness probe: {outcome.complaint}"
            return outcome

        async def turned(outcome: ProbeResult) -> None:
            since = self._clock.now() if outcome.success else None
            self._change(container, lambda now: now.with_readiness(container.id, since))

        if not adopted:
            await self._wait_initial_delay(target, probe)
        await watch(ProbeCounter(probe, passing=adopted), attempt, turned, self._clock)

    async def _watch_liveness(self, target: ProbeTarget, probe: ProbeSpec) -> None:
        async def turned(outcome: ProbeResult) -> None:
            if not outcome.success:
                await self._end(target.container, f"liveness probe failed: {outcome.complaint}")

        await self._wait_initial_delay(target, probe)
        attempt = partial(self._attempt, target, probe)
        await watch(ProbeCounter(probe, passing=True), attempt, turned, self._clock)

    async def _attempt(self, target: ProbeTarget, probe: ProbeSpec) -> ProbeResult:
        async def execute(command: tuple[str, ...]) -> tuple[int, bytes]:
            try:
                return await self._commands.execute(target.container.id, command)
            except PodmanNotFoundError as error:
                raise PodmanRefusedError(str(error)) from error

        outcome = await self._client.attempt(probe, target.address, execute)
        if outcome.success or not isinstance(probe.check, ExecProbe):
            return outcome
        # A command that did not end in time says nothing when the runtime itself hangs.
        return outcome if await self._api.answers() else replace(outcome, conclusive=False)

    async def _wait_initial_delay(self, target: ProbeTarget, probe: ProbeSpec) -> None:
        started = target.container.started_at or self._clock.now()
        elapsed = max((self._clock.now() - started).total_seconds(), 0)
        await self._clock.sleep(max(0.0, probe.initial_delay - elapsed))

    async def _end(self, container: ContainerFacts, complaint: str) -> None:
        """End a container that hangs: who owns it starts it anew, as after any other end."""
        failure = f"container {container.name}: {complaint}"
        self._records.change(container.instance, lambda now: replace(now, failure=failure))
        _log.warning(
            "container is ended",
            extra={
                "instance": container.instance,
                "container": container.name,
                "why": complaint,
            },
        )
        await self._stop(container)
        self._turned()

    async def _stop(self, container: ContainerFacts) -> None:
        """Stop a container, as soon as the runtime does it; raises PodmanRefusedError."""
        while True:
            try:
                with contextlib.suppress(PodmanNotFoundError):
                    await self._api.stop(container.id, _UNHEALTHY_GRACE_SECONDS)
            except PodmanRefusedError:
                raise
            except RuntimeUnavailableError as error:
                self._faults.tell(container.instance, error, "container not stopped")
                await self._clock.sleep(_RETRY_SECONDS)
            else:
                return
