"""Ends of a revision's rollout: complete, failed, or held up by a pull."""

from dataclasses import replace
from datetime import datetime

from upwell.api.apps import RevisionRecord
from upwell.policy.rollouts.history import Phase, last_good, with_record
from upwell.policy.rollouts.report import describe, failure_message
from upwell.policy.rollouts.snapshot import PASSING, PULLING, Obstacle, RolloutSnapshot
from upwell.policy.rollouts.steps import FailureReason
from upwell.policy.rollouts.summary import AS_USUAL, IS_PAUSED
from upwell.workload.interface import State

OWN_REASONS = AS_USUAL | IS_PAUSED | PASSING
"""Reasons of the condition Progressing that tell of no obstacle, or of one that passes."""


def pulling(snapshot: RolloutSnapshot, record: RevisionRecord) -> Obstacle | None:
    """Say which image a replica waits for, if one does and nobody has paused it."""
    for one in () if snapshot.settings.paused else snapshot.instances:
        if one.state is State.PULLING and one.revision == record.hash:
            return Obstacle(PULLING, f"{describe(record)} is progressing: {one.message}", "True")
    return None


def pulling_first(record: RevisionRecord, message: str) -> Obstacle:
    """Say which image is pulled before the instance that serves is stopped."""
    what = f"{describe(record)} is progressing, before the old instance is stopped"
    return Obstacle(PULLING, f"{what}: {message}", "True")


def completed(snapshot: RolloutSnapshot, record: RevisionRecord, now: datetime) -> RolloutSnapshot:
    """Return the snapshot with the target complete."""
    changes = {"phase": Phase.COMPLETE.value, "message": "", "completed_at": now}
    records = with_record(snapshot.records, record.hash, **changes)
    return replace(snapshot, records=records)


def failed(
    snapshot: RolloutSnapshot,
    record: RevisionRecord,
    reason: str,
    detail: str,
    *,
    final: bool = False,
) -> RolloutSnapshot:
    """Return the snapshot with the target failed.

    Without a good revision it is tried on, unless the failure is `final`.
    """
    good = last_good(snapshot.records, besides=record.hash)
    if record.phase == Phase.FAILED and good is None and not final:
        return snapshot  # said already: an equal reconcile writes nothing
    settings = snapshot.settings
    limit = settings.active_deadline if reason == FailureReason.TOO_LONG else None
    deadline = (limit or settings.deadline).total_seconds()
    message = failure_message(record, reason, detail, (good, final), deadline)
    changes: dict[str, object] = {"phase": Phase.FAILED.value, "message": message}
    if final:
        changes["aborted"] = True
    return replace(
        snapshot,
        records=with_record(snapshot.records, record.hash, **changes),
        failed_hash=record.hash if good is not None else snapshot.failed_hash,
    )
