"""What steps and their troubles say about the revision that is being rolled out."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime

from upwell.api.apps import RevisionRecord
from upwell.api.conditions import find as find_condition
from upwell.policy.rollouts.history import Phase, Records, last_good, with_record
from upwell.policy.rollouts.settings import Workload
from upwell.policy.rollouts.steps import FailureReason, MarkComplete, Replica, RollBack, Stall, Step
from upwell.reconcilers.rollouts.execution import Trouble
from upwell.reconcilers.rollouts.machine import RolloutPorts
from upwell.reconcilers.rollouts.report import PROGRESSING, describe, failure_message
from upwell.reconcilers.rollouts.standing import Obstacle, RolloutSnapshot
from upwell.workload.interface import LogQuery, State, WorkloadError

_LOG_LINES = 10
_LOG_BYTES = 4096
_LOG_TIMEOUT = 5.0
_PULLING = "ImagePulling"
_OWN_REASONS = frozenset(
    {
        "NewReplicaSetCreated",
        "NewReplicaSetAvailable",
        "ReplicaSetUpdated",
        "DeploymentPaused",
        _PULLING,
    }
)


class Judge:
    """Says whether a revision is complete, has failed, or meets an obstacle."""

    def __init__(self, machine: RolloutPorts, clock: Callable[[], datetime]) -> None:
        self._runtime = machine.runtime
        self._traffic = machine.traffic
        self._clock = clock

    async def judge(
        self,
        workload: Workload,
        standing: RolloutSnapshot,
        steps: Sequence[Step],
        troubles: Sequence[Trouble],
    ) -> RolloutSnapshot:
        """Return the standing with what the steps and their troubles say about the revision."""
        record = standing.chosen.record
        if record is None:
            return standing
        standing = replace(standing, records=self._with_live_time(workload, standing, record))
        refused = [
            error for error in troubles if isinstance(error, WorkloadError) and not error.retryable
        ]
        for step in steps:
            match step:
                case MarkComplete():
                    return _completed(standing, record)
                case RollBack() | Stall():
                    detail = await self._detail(workload, step.replica)
                    final = step.reason is FailureReason.TOO_LONG
                    return failed(standing, record, step.reason, detail, final=final)
                case _:
                    pass
        if refused and record.phase != Phase.COMPLETE:
            return failed(standing, record, refused[0].reason, str(refused[0]))
        met = _trouble(troubles) or _pulling(standing, record)
        return replace(standing, obstacle=standing.obstacle or met)

    def _with_live_time(
        self, workload: Workload, standing: RolloutSnapshot, record: RevisionRecord
    ) -> Records:
        live = record.live_at is None and any(
            one.ready
            and one.revision == record.hash
            and self._traffic.is_live(workload.key, one.name)
            for one in standing.instances
        )
        if not live:
            return standing.records
        return with_record(standing.records, record.hash, live_at=self._clock())

    async def _detail(self, workload: Workload, replica: Replica | None) -> str:
        """Return why a replica does not serve, as far as anybody knows."""
        told = find_condition(workload.status.conditions, PROGRESSING)
        trouble = told.message if told and told.reason not in _OWN_REASONS else ""
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
    return next((Obstacle(one.reason, str(one), "True") for one in troubles), None)


def _pulling(standing: RolloutSnapshot, record: RevisionRecord) -> Obstacle | None:
    """Say which image a replica waits for, if one does and nobody has paused it."""
    for one in () if standing.settings.paused else standing.instances:
        if one.state is State.PULLING and one.revision == record.hash:
            return Obstacle(_PULLING, f"{describe(record)} is progressing: {one.message}", "True")
    return None


def _completed(standing: RolloutSnapshot, record: RevisionRecord) -> RolloutSnapshot:
    records = with_record(standing.records, record.hash, phase=Phase.COMPLETE.value, message="")
    return replace(standing, records=records)


def failed(
    standing: RolloutSnapshot,
    record: RevisionRecord,
    reason: str,
    detail: str,
    *,
    final: bool = False,
) -> RolloutSnapshot:
    """Return the standing with the target failed.

    Without a good revision it is tried on, unless the failure is `final`.
    """
    good = last_good(standing.records, besides=record.hash)
    if record.phase == Phase.FAILED and good is None and not final:
        return standing  # said already: an equal reconcile writes nothing
    settings = standing.settings
    limit = settings.active_deadline if reason == FailureReason.TOO_LONG else None
    deadline = (limit or settings.deadline).total_seconds()
    message = failure_message(record, reason, detail, (good, final), deadline)
    changes: dict[str, object] = {"phase": Phase.FAILED.value, "message": message}
    if final:
        changes["aborted"] = True
    return replace(
        standing,
        records=with_record(standing.records, record.hash, **changes),
        failed_hash=record.hash if good is not None else standing.failed_hash,
    )
