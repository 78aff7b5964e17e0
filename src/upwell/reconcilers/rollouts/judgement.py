"""Outcome of steps and their troubles for the revision that is being rolled out."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime

from upwell.api.apps import RevisionRecord
from upwell.api.conditions import find as find_condition
from upwell.policy.rollouts.history import Phase, Records, with_record
from upwell.policy.rollouts.judgement import OWN_REASONS, completed, failed, pulling
from upwell.policy.rollouts.report import PROGRESSING
from upwell.policy.rollouts.rollout import Replica
from upwell.policy.rollouts.settings import Workload
from upwell.policy.rollouts.snapshot import Obstacle, RolloutSnapshot
from upwell.policy.rollouts.steps import FailureReason, MarkComplete, RollBack, Stall, Step
from upwell.reconcilers.rollouts.execution import Trouble
from upwell.reconcilers.rollouts.machine import RolloutPorts
from upwell.registry.errors import RegistryError
from upwell.workload.errors import ImagePullError, WorkloadError
from upwell.workload.interface import LogQuery

_LOG_LINES = 10
_LOG_BYTES = 4096
_LOG_TIMEOUT = 5.0


class Judge:
    """Says whether a revision is complete, has failed, or meets an obstacle."""

    def __init__(self, machine: RolloutPorts, clock: Callable[[], datetime]) -> None:
        self._runtime = machine.runtime
        self._traffic = machine.traffic
        self._clock = clock

    async def judge(
        self,
        workload: Workload,
        snapshot: RolloutSnapshot,
        steps: Sequence[Step],
        troubles: Sequence[Trouble],
    ) -> RolloutSnapshot:
        """Return the snapshot with what the steps and their troubles say about the revision."""
        record = snapshot.chosen.record
        if record is None:
            return snapshot
        snapshot = replace(snapshot, records=self._with_live_time(workload, snapshot, record))
        refused = [
            error for error in troubles if isinstance(error, WorkloadError) and not error.retryable
        ]
        for step in steps:
            match step:
                case MarkComplete():
                    return completed(snapshot, record, self._clock())
                case RollBack() | Stall():
                    detail = await self._detail(workload, step.replica)
                    final = step.reason is FailureReason.TOO_LONG
                    return failed(snapshot, record, step.reason, detail, final=final)
                case _:
                    pass
        if refused and record.phase != Phase.COMPLETE:
            return failed(snapshot, record, refused[0].reason, str(refused[0]))
        met = _trouble(troubles) or pulling(snapshot, record)
        return replace(snapshot, obstacle=snapshot.obstacle or met)

    def _with_live_time(
        self, workload: Workload, snapshot: RolloutSnapshot, record: RevisionRecord
    ) -> Records:
        live = record.live_at is None and any(
            one.ready
            and one.revision == record.hash
            and self._traffic.is_live(workload.key, one.name)
            for one in snapshot.instances
        )
        if not live:
            return snapshot.records
        return with_record(snapshot.records, record.hash, live_at=self._clock())

    async def _detail(self, workload: Workload, replica: Replica | None) -> str:
        """Return why a replica does not serve, as far as anybody knows."""
        progressing = find_condition(workload.status.conditions, PROGRESSING)
        trouble = (
            progressing.message if progressing and progressing.reason not in OWN_REASONS else ""
        )
        if replica is None:
            return trouble
        if replica.ended and replica.message:
            return replica.message  # it ends with the last lines already
        parts = (trouble, replica.message, await self._last_lines(replica.name))
        return "\n".join(part for part in parts if part)

    async def _last_lines(self, name: str) -> str:
        lines = b""
        try:
            async with asyncio.timeout(_LOG_TIMEOUT):
                async for chunk in self._runtime.logs(name, wanted=LogQuery(tail=_LOG_LINES)):
                    lines = (lines + chunk)[-_LOG_BYTES:]
        except (WorkloadError, TimeoutError):
            return ""  # the log only adds to the reason
        return lines.decode(errors="replace").strip()


def _trouble(troubles: Sequence[Trouble]) -> Obstacle | None:
    """Say what went wrong first, if anything did."""
    first = next(iter(troubles), None)
    if first is None:
        return None
    is_image = isinstance(first, RegistryError | ImagePullError)
    return Obstacle(first.reason, str(first), "True", is_image=is_image)
