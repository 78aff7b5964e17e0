"""Revision of a workload that a cluster rolls out, as one that this server has rolled out."""

from collections.abc import Mapping
from datetime import UTC, datetime

from upwell.api.apps import DaemonSet, Deployment, DeploymentConfig, RevisionRecord, StatefulSet
from upwell.api.conditions import find
from upwell.policy.cluster_rollouts.deployment_configs import images_of_template
from upwell.policy.cluster_rollouts.observation import is_rolled_out, is_stuck
from upwell.policy.rollouts.history import Phase
from upwell.policy.rollouts.settings import Workload

_DEPLOYMENT = "deployment.kubernetes.io/revision"
"""Annotation of the cluster's Deployment controller."""
_DAEMON_SET = "deprecated.daemonset.template.generation"
"""Annotation of the API server (apps/v1)."""
_STATEFUL_SET = "updateRevision"
_BEGINNING = datetime.fromtimestamp(0, UTC)


def as_rolled_out(workload: Workload) -> Workload:
    """Return a workload with its newest revision in the status, if a cluster rolls it out.

    One that this server rolls out has its revisions there, and stays as it is.
    """
    if isinstance(workload, DeploymentConfig) or workload.status.revisions:
        return workload
    number = _number(workload)
    if number is None:
        return workload
    progressing = find(workload.status.conditions, "Progressing")
    changed = progressing.last_update_time if progressing is not None else None
    at = changed or workload.metadata.creation_timestamp or _BEGINNING
    phase, message = _phase(workload, number)
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


def _number(workload: Deployment | StatefulSet | DaemonSet) -> int | None:
    """Return the number of the newest revision; None before a cluster's controllers saw it."""
    match workload:
        case StatefulSet():
            known = (workload.status.model_extra or {}).get(_STATEFUL_SET)
            return workload.status.observed_generation if known else None
        case Deployment():
            text = workload.annotations.get(_DEPLOYMENT, "")
        case DaemonSet():
            text = workload.annotations.get(_DAEMON_SET, "")
    return int(text) if text.isascii() and text.isdigit() else None


def _phase(workload: Deployment | StatefulSet | DaemonSet, number: int) -> tuple[Phase, str]:
    if is_rolled_out(workload):
        return Phase.COMPLETE, ""
    if isinstance(workload, Deployment) and is_stuck(workload):
        seconds = workload.spec.progress_deadline_seconds
        return Phase.FAILED, f"revision {number}: no progress for {seconds} s"
    return Phase.PROGRESSING, ""


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
