"""The status of a workload, in Kubernetes' words where it has words for it."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from upwell.api.apps import (
    DaemonSetStatus,
    DeploymentConfig,
    DeploymentConfigStatus,
    RevisionRecord,
    WorkloadStatus,
)
from upwell.api.conditions import find as find_condition
from upwell.api.conditions import set_condition, without
from upwell.api.meta import Condition
from upwell.policy.rollouts.degradation import degradation
from upwell.policy.rollouts.drift import DRIFT_ANNOTATION, faults, mends
from upwell.policy.rollouts.history import Phase, RolloutCause, find, is_cancelled
from upwell.policy.rollouts.instance import is_available
from upwell.policy.rollouts.settings import Workload
from upwell.policy.rollouts.snapshot import RolloutSnapshot
from upwell.policy.rollouts.starts.exclusive_use import exclusive_use, stops_first
from upwell.policy.rollouts.steps import FailureReason
from upwell.policy.rollouts.summary import (
    IS_PROGRESSING,
    REVISION_AVAILABLE,
    REVISION_CREATED,
    REVISION_UPDATED,
    ROLLOUT_CANCELLED,
    ROLLOUT_PAUSED,
    progressing_reason,
)
from upwell.policy.rollouts.target import TargetReason
from upwell.policy.rollouts.triggers import hold_text
from upwell.workload.interface import Instance

PROGRESSING = "Progressing"
AVAILABLE = "Available"
ROLLED_BACK = "RolledBack"
DRIFTED = "Drifted"
IMAGES_AVAILABLE = "ImagesAvailable"
"""False while replicas wait for images that cannot be had, and else not there."""

_WHY: dict[str, str] = {
    FailureReason.CRASH_LOOPING: "ended again and again",
    FailureReason.NEVER_READY: "made no progress for {:.0f} s",
    FailureReason.TOO_LONG: "was not complete after {:.0f} s",
    "HookFailed": "was given up",
}
_MAX_DETAIL = 1500
"""Characters of an application's last lines that a condition carries."""


def describe(record: RevisionRecord) -> str:
    """Return a revision and its images, for people."""
    images = ", ".join(f"{name} = {image}" for name, image in sorted(record.images.items()))
    return f"revision {record.revision} ({images})" if images else f"revision {record.revision}"


def failure_message(
    failing: RevisionRecord,
    reason: str,
    detail: str,
    instead: tuple[RevisionRecord | None, bool],
    deadline: float,
) -> str:
    """Say which images failed, why, and what serves instead.

    `instead` is the good revision, and whether the failing one is given up for good.
    """
    good, final = instead
    why = _WHY.get(reason, "").format(deadline) or f"failed with {reason}"
    suffix = f": {detail.strip()[-_MAX_DETAIL:]}" if detail.strip() else ""
    if good is None and final:
        rest = (
            "no earlier revision to roll back to, so nothing runs until `rollout retry` or a change"
        )
    elif good is None:
        rest = "no earlier revision to roll back to, so it is restarted repeatedly"
    else:
        rest = (
            f"{describe(good)} serves instead; revision {failing.revision} is not tried again"
            " until the template changes, or by `rollout retry`"
        )
    return f"{describe(failing)} {why}{suffix}; {rest}"


def status_of(workload: Workload, snapshot: RolloutSnapshot, now: datetime) -> WorkloadStatus:
    """Return the status; an equal snapshot gives an equal status."""
    settings = snapshot.settings
    instances = snapshot.instances
    available = [one for one in instances if is_available(one, settings.min_ready, now)]
    updated = [one for one in instances if one.revision == snapshot.wanted]
    conditions = workload.status.conditions
    if late_at(workload, snapshot, now) == now + settings.deadline:
        conditions = without(conditions, PROGRESSING)  # its time counts from now
    volumes = stops_first(settings, exclusive_use(workload, instances))
    found = (*_conditions(workload, snapshot, available, now), drifted(workload, snapshot), volumes)
    for condition in found:
        if condition.status == "False" and condition.type == volumes.type:
            conditions = without(conditions, volumes.type)
            continue
        conditions = set_condition(
            conditions,
            condition.model_copy(update={"observed_generation": workload.generation}),
            now,
        )
    degraded = degradation(workload, snapshot, now).condition
    if degraded is not None:
        degraded = degraded.model_copy(update={"observed_generation": workload.generation})
        conditions = set_condition(conditions, degraded, now)
    if snapshot.failed_hash != snapshot.wanted:
        conditions = without(conditions, ROLLED_BACK)
    conditions = _with_missing_images(workload, snapshot, conditions, now)
    changes: dict[str, Any] = {
        "observed_generation": workload.generation,
        "replicas": len(instances),
        "ready_replicas": sum(one.ready for one in instances),
        "updated_replicas": len(updated),
        "available_replicas": len(available),
        "unavailable_replicas": max(settings.replicas - len(available), 0),
        "conditions": conditions,
        "revisions": snapshot.records,
        "failed_hash": snapshot.failed_hash,
        "hold": hold_text(workload) or ("paused" if settings.paused else None),
    }
    if isinstance(workload.status, DeploymentConfigStatus) and snapshot.records:
        changes["latest_version"] = snapshot.records[0].revision
        changes["details"] = _details(snapshot.records[0])
    if isinstance(workload.status, DaemonSetStatus):
        changes |= _numbers_of_machines(changes)
    return workload.status.model_copy(update=changes)


def _with_missing_images(
    workload: Workload, snapshot: RolloutSnapshot, conditions: tuple[Condition, ...], now: datetime
) -> tuple[Condition, ...]:
    obstacle = snapshot.obstacle
    if obstacle is None or not obstacle.is_image or not snapshot.settings.replicas:
        return without(conditions, IMAGES_AVAILABLE)
    missing = missing_images(obstacle.reason, obstacle.message, workload.generation)
    return set_condition(conditions, missing, now)


def missing_images(reason: str, message: str, generation: int) -> Condition:
    """Return the condition of a workload or Job that waits for images that cannot be had."""
    return Condition(
        type=IMAGES_AVAILABLE,
        status="False",
        reason=reason,
        message=message,
        observed_generation=generation,
    )


def _numbers_of_machines(replicas: Mapping[str, Any]) -> dict[str, Any]:
    """Return the counts of a DaemonSet, by which `rollout status` judges it."""
    return {
        "desired_number_scheduled": 1,
        "current_number_scheduled": min(replicas["replicas"], 1),
        "updated_number_scheduled": replicas["updated_replicas"],
        "number_ready": replicas["ready_replicas"],
        "number_available": replicas["available_replicas"],
        "number_unavailable": replicas["unavailable_replicas"],
    }


def drifted(workload: Workload, snapshot: RolloutSnapshot) -> Condition:
    """Say how what runs differs from what was rolled out, and what is done about it."""
    found = faults(snapshot.instances, snapshot.records)
    then = "mended" if mends(workload) else f"reported only ({DRIFT_ANNOTATION}: report)"
    return Condition(
        type=DRIFTED,
        status="True" if found else "False",
        reason="ChangedByHand" if found else "AsRolledOut",
        message=f"{'; '.join(found)}; {then}" if found else "",
    )


def _details(record: RevisionRecord) -> dict[str, Any]:
    """Return OpenShift's DeploymentDetails: why the latest version was rolled out."""
    kinds = {RolloutCause.IMAGE_CHANGE: "ImageChange", RolloutCause.CONFIG_CHANGE: "ConfigChange"}
    kind = next((name for cause, name in kinds.items() if cause == record.cause), "Manual")
    return {"message": record.cause, "causes": [{"type": kind}]}


def _conditions(
    workload: Workload, snapshot: RolloutSnapshot, available: Sequence[Instance], now: datetime
) -> list[Condition]:
    kind = workload.KIND.kind
    minimum = max(snapshot.settings.replicas - snapshot.settings.max_unavailable, 0)
    enough = len(available) >= minimum and bool(snapshot.records)
    conditions = [
        Condition(
            type=AVAILABLE,
            status="True" if enough else "False",
            reason="MinimumReplicasAvailable" if enough else "MinimumReplicasUnavailable",
            message=f"{kind} has minimum availability."
            if enough
            else f"{kind} does not have minimum availability.",
        ),
        _progressing(workload, snapshot, available, now),
    ]
    failed = find(snapshot.records, snapshot.wanted)
    if snapshot.failed_hash == snapshot.wanted and failed is not None:
        conditions.append(
            Condition(
                type=ROLLED_BACK, status="True", reason="RevisionFailed", message=failed.message
            )
        )
    return conditions


def _progressing(
    workload: Workload, snapshot: RolloutSnapshot, available: Sequence[Instance], now: datetime
) -> Condition:
    """Say how the rollout goes on, with the reasons that the clients of its API wait for."""
    late = late_at(workload, snapshot, now)
    if late is not None and late <= now:
        return _never_begun(snapshot)
    said = _progress(workload, snapshot, available)
    return said.model_copy(update={"reason": progressing_reason(workload, said.reason)})


def late_at(workload: Workload, snapshot: RolloutSnapshot, now: datetime) -> datetime | None:
    """Return when a rollout that cannot begin has failed; None when nothing keeps one back.

    Its time counts from when the obstacle to what is declared now was met.
    """
    if snapshot.obstacle is None or not snapshot.obstacle.hurried:
        return None
    met = find_condition(workload.status.conditions, PROGRESSING)
    if met is None or met.status != "False" or met.observed_generation != workload.generation:
        return now + snapshot.settings.deadline
    return (met.last_transition_time or now) + snapshot.settings.deadline


def _never_begun(snapshot: RolloutSnapshot) -> Condition:
    why = snapshot.obstacle.message if snapshot.obstacle is not None else ""
    message = (
        f"the rollout could not begin for {snapshot.settings.deadline.total_seconds():.0f} s:"
        f" {why}; it is still tried"
    )
    return _condition("False", FailureReason.NEVER_READY, message)


def _progress(
    workload: Workload, snapshot: RolloutSnapshot, available: Sequence[Instance]
) -> Condition:
    obstacle = snapshot.obstacle
    record = find(snapshot.records, snapshot.wanted)
    if snapshot.chosen.choice is not TargetReason.KEPT and record and record.phase == Phase.FAILED:
        return _condition("False", failure_reason(workload, record), record.message)
    if obstacle is not None:
        return _condition(obstacle.status, obstacle.reason, obstacle.message)
    if record is None:
        return _condition("True", REVISION_CREATED, "a new revision begins")
    if snapshot.settings.paused and record.phase != Phase.COMPLETE:
        return _condition("Unknown", ROLLOUT_PAUSED, f"{describe(record)} is paused")
    if record.phase == Phase.COMPLETE:
        return _condition(
            "True", REVISION_AVAILABLE, f"{describe(record)} has successfully progressed."
        )
    count = sum(one.revision == record.hash for one in available)
    waiting = (one for one in snapshot.instances if one.revision == record.hash and not one.ready)
    why = next((f": {one.message[-_MAX_DETAIL:]}" for one in waiting if one.message), "")
    return _condition(
        "True",
        REVISION_UPDATED,
        f"{describe(record)}{IS_PROGRESSING}"
        f"{count} of {snapshot.settings.replicas} updated replicas are available{why}",
    )


def failure_reason(workload: Workload, record: RevisionRecord) -> str:
    """Return the reason of the condition Progressing for a rollout that has failed.

    Kubernetes' clients take this one, and no other, for a failure; OpenShift's know one more.
    """
    if isinstance(workload, DeploymentConfig) and is_cancelled(record):
        return ROLLOUT_CANCELLED
    return FailureReason.NEVER_READY


def _condition(status: str, reason: str, message: str) -> Condition:
    return Condition(type=PROGRESSING, status=status, reason=reason, message=message)
