"""Revision of a workload that a cluster rolls out, as one that this server has rolled out."""

from collections.abc import Mapping
from datetime import UTC, datetime

from upwell.api.apps import DaemonSet, Deployment, DeploymentConfig, RevisionRecord, StatefulSet
from upwell.api.conditions import find
from upwell.api.meta import Resource
from upwell.policy.cluster_rollouts.deployment_configs import images_of_template
from upwell.policy.cluster_rollouts.field_owners import owned_text, ownership
from upwell.policy.cluster_rollouts.note import RolloutNote
from upwell.policy.cluster_rollouts.observation import is_rolled_out, is_stuck
from upwell.policy.rollouts.commands import cluster_revision
from upwell.policy.rollouts.history import Phase
from upwell.policy.rollouts.settings import Workload
from upwell.policy.rollouts.triggers import followers_of, images_set

_BEGINNING = datetime.fromtimestamp(0, UTC)


def as_rolled_out(workload: Workload, trouble: str = "") -> Workload:
    """Return a workload with its newest revision in the status, if a cluster rolls it out.

    `trouble`: what its Pods say, where that is known. One that this server rolls out has its
    revisions there, and stays as it is.
    """
    if isinstance(workload, DeploymentConfig) or workload.status.revisions:
        return workload
    number = cluster_revision(workload)
    if number is None:
        return workload
    progressing = find(workload.status.conditions, "Progressing")
    changed = progressing.last_update_time if progressing is not None else None
    at = changed or workload.metadata.creation_timestamp or _BEGINNING
    phase, message = _phase(workload, number, trouble)
    record = RevisionRecord(
        revision=number,
        hash="",
        template=workload.spec.template,
        created=at,
        phase=phase,
        message=message,
        images=images_of_template(workload.spec.template),
        completed_at=at if phase is Phase.COMPLETE else None,
    )
    changes: Mapping[str, object] = {"revisions": (record,), **_counts(workload)}
    status = workload.status.model_copy(update=changes)
    return workload.model_copy(update={"status": status})


def _phase(
    workload: Deployment | StatefulSet | DaemonSet, number: int, trouble: str
) -> tuple[Phase, str]:
    if is_rolled_out(workload):
        return Phase.COMPLETE, ""
    if isinstance(workload, Deployment) and is_stuck(workload):
        why = filter(None, (_stuck(workload, trouble), taken_text(workload)))
        return Phase.FAILED, f"revision {number}: {'; '.join(why)}"
    return Phase.PROGRESSING, ""


def _stuck(workload: Deployment, trouble: str) -> str:
    """Say what is known of why it is stuck: what its Pods say, or that none can be made."""
    told = f"no progress for {workload.spec.progress_deadline_seconds} s"
    if trouble:
        return f"{told}: {trouble}"
    failure = find(workload.status.conditions, "ReplicaFailure")
    return f"{told}: {failure.message}" if failure is not None and failure.is_true else told


def taken_text(workload: Resource) -> str:
    """Say who has set an image by hand on a cluster, since Upwell set it there; empty: nobody."""
    note = RolloutNote.of(workload)
    if not note.images:
        return ""
    staged = bool(note.promotion)
    slots = [entry.slot for entry in followers_of(workload).entries]
    if staged:
        slots = [slot for slot in images_set(workload) if slot[0] in note.images]
    taken = ownership(workload, slots, set_before=True, staged=staged).taken_by
    told = (owned_text(slot, manager, staged=staged) for slot, manager in taken.items())
    return next(told, "")


def _counts(workload: Deployment | StatefulSet | DaemonSet) -> Mapping[str, int]:
    """Return the counts of a DaemonSet by the names that other kinds have for them.

    Of its nodes, here one is wanted if all are ready.
    """
    if not isinstance(workload, DaemonSet):
        return {}
    status, wanted = workload.status, workload.status.desired_number_scheduled
    return {
        "ready_replicas": int(status.number_ready >= wanted),
        "updated_replicas": int(status.updated_number_scheduled >= wanted),
    }
