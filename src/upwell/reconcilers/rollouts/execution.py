"""Carries steps out: starts and stops instances, and collects what goes wrong."""

import asyncio
from collections.abc import Sequence

from upwell.policy.rollouts.history import find
from upwell.policy.rollouts.instance import build
from upwell.policy.rollouts.pod_template import TemplateError
from upwell.policy.rollouts.settings import Workload, grace_seconds, template_of
from upwell.policy.rollouts.snapshot import RolloutSnapshot
from upwell.policy.rollouts.steps import StartReplica, Step, Stop
from upwell.policy.rollouts.volumes.snapshots import with_snapshots
from upwell.reconcilers.rollouts.loading import Revisions
from upwell.reconcilers.rollouts.stops import PendingStops
from upwell.registry.errors import RegistryError
from upwell.workload.errors import WorkloadError
from upwell.workload.interface import Runtime

type Trouble = WorkloadError | TemplateError | RegistryError
"""Errors that may keep a step from being done."""


class StepExecutor:
    """Acts on the runtime; every step may be done again."""

    def __init__(self, runtime: Runtime, revisions: Revisions) -> None:
        self._runtime = runtime
        self._revisions = revisions
        self.stops = PendingStops(runtime)

    async def carry_out(
        self, workload: Workload, snapshot: RolloutSnapshot, steps: Sequence[Step]
    ) -> list[Trouble]:
        """Start, and begin to stop; return what went wrong, the target's own first."""
        if not any(isinstance(step, StartReplica | Stop) for step in steps):
            return []
        grace = grace_seconds(template_of(workload))
        async with asyncio.TaskGroup() as group:
            stopping = group.create_task(self.stop(steps, grace))
            starting = group.create_task(self._start(workload, snapshot, steps))
        return [*starting.result(), *stopping.result()]

    async def have_images(
        self, workload: Workload, snapshot: RolloutSnapshot, start: StartReplica
    ) -> tuple[str, list[Trouble]]:
        """Say which image a replica waits for, and why it cannot be had; nothing: all are there."""
        record = find(snapshot.records, start.revision)
        if record is None:
            return "", []
        try:
            revision = await self._revisions.load(workload, record)
            return await self._runtime.provide(build(revision, start.index)), []
        except (WorkloadError, TemplateError) as error:
            return "", [error]

    async def stop(self, steps: Sequence[Step], grace: float) -> list[WorkloadError]:
        """Begin the steps that stop; return what went wrong."""
        names = [step.name for step in steps if isinstance(step, Stop)]
        return await self.stops.stop(names, grace)

    async def _start(
        self, workload: Workload, snapshot: RolloutSnapshot, steps: Sequence[Step]
    ) -> list[Trouble]:
        troubles: list[Trouble] = []
        for step in steps:
            record = (
                find(snapshot.records, step.revision) if isinstance(step, StartReplica) else None
            )
            if not isinstance(step, StartReplica) or record is None:
                continue
            try:
                revision = await self._revisions.load(workload, record)
                spec = build(revision, step.index)
                await self._runtime.start(with_snapshots(spec, workload, snapshot.records, record))
            except (WorkloadError, TemplateError) as error:
                troubles.append(error)
        return troubles
