"""Summary of the newest rollout of a workload, for people and for what waits for it."""

from dataclasses import dataclass
from enum import StrEnum

from upwell.api import conditions
from upwell.api.apps import DaemonSet, DeploymentConfig, RevisionRecord
from upwell.policy.rollouts.history import Phase
from upwell.policy.rollouts.settings import Workload
from upwell.policy.rollouts.steps import FailureReason
from upwell.policy.rollouts.triggers import IMAGE_TRIGGERED

REVISION_CREATED = "NewReplicaSetCreated"
REVISION_UPDATED = "ReplicaSetUpdated"
REVISION_AVAILABLE = "NewReplicaSetAvailable"
ROLLOUT_PAUSED = "DeploymentPaused"
ROLLOUT_CANCELLED = "RolloutCancelled"
"""Reason of OpenShift's for a rollout that a person has cancelled; Kubernetes has none."""
_OF_CONFIGS = {
    REVISION_CREATED: "NewReplicationControllerCreated",
    REVISION_UPDATED: "ReplicationControllerUpdated",
    REVISION_AVAILABLE: "NewReplicationControllerAvailable",
    ROLLOUT_PAUSED: "DeploymentConfigPaused",
}
"""Kubernetes' reasons of the condition Progressing -> OpenShift's, which `oc` waits for."""
AS_USUAL = frozenset(
    word
    for reason in (REVISION_CREATED, REVISION_UPDATED, REVISION_AVAILABLE)
    for word in (reason, _OF_CONFIGS[reason])
)
"""Reasons of the condition Progressing that tell of no obstacle."""
IS_PAUSED = frozenset({ROLLOUT_PAUSED, _OF_CONFIGS[ROLLOUT_PAUSED]})

IS_PROGRESSING = " is progressing: "
"""Words between the revision and its state in the message of the condition."""


class RolloutState(StrEnum):
    """State of a rollout: going on, or ended in one of several ways."""

    COMPLETE = "Complete"
    PROGRESSING = "Progressing"
    FAILED = "Failed"


@dataclass(frozen=True, slots=True)
class RolloutProgress:
    """Progress of the newest rollout of a workload, for people."""

    state: RolloutState
    text: str


def serving(workload: Workload) -> RevisionRecord | None:
    """Return the revision that serves: the newest that is complete, else one that takes traffic."""
    revisions = workload.status.revisions
    complete = [revision for revision in revisions if revision.phase == Phase.COMPLETE]
    live = [revision for revision in revisions if revision.live_at and revision not in complete]
    return next(iter([*complete, *live]), None)


def desired_replicas(workload: Workload) -> int:
    """Return how many instances are wanted."""
    return 1 if isinstance(workload, DaemonSet) else workload.spec.replicas


def progressing_reason(workload: Workload, reason: str) -> str:
    """Return a reason of the condition Progressing in the words of the workload's own API."""
    return _OF_CONFIGS.get(reason, reason) if isinstance(workload, DeploymentConfig) else reason


def rollout_of(workload: Workload) -> RolloutProgress:
    """Say where the newest rollout of `workload` stands."""
    status = workload.status
    if (status.observed_generation or 0) < workload.generation:
        return RolloutProgress(
            RolloutState.PROGRESSING, "the server has not seen the last change yet"
        )
    newest = next(iter(status.revisions), None)
    if never_begun := _never_begun(workload, newest):
        return RolloutProgress(RolloutState.FAILED, never_begun)
    if newest is None:
        triggered = conditions.find(status.conditions, IMAGE_TRIGGERED)
        why = f": {triggered.message}" if triggered and triggered.message else ""
        return RolloutProgress(RolloutState.PROGRESSING, f"no revision was rolled out yet{why}")
    return _progress_of(workload, newest)


def _progress_of(workload: Workload, newest: RevisionRecord) -> RolloutProgress:
    """Say where the rollout of a revision stands that has begun."""
    status = workload.status
    wanted = desired_replicas(workload)
    if newest.phase == Phase.FAILED:
        kept = serving(workload)
        instead = f"; revision {kept.revision} serves" if kept is not None else ""
        text = newest.message or f"revision {newest.revision} failed{instead}"
        return RolloutProgress(RolloutState.FAILED, text)
    if newest.phase == Phase.COMPLETE and (degraded := _degradation(workload, newest)):
        return RolloutProgress(RolloutState.PROGRESSING, degraded)
    if newest.phase == Phase.COMPLETE and min(status.updated_replicas, status.ready_replicas) >= (
        wanted
    ):
        ready = f"{status.ready_replicas} of {wanted} ready"
        return RolloutProgress(
            RolloutState.COMPLETE, f"revision {newest.revision} is complete, {ready}"
        )
    counts = f"{status.updated_replicas} of {wanted} updated, {status.ready_replicas} ready"
    text = _unready(workload) or f"{counts}{_hindrance(workload)}"
    return RolloutProgress(RolloutState.PROGRESSING, f"revision {newest.revision}: {text}")


def _never_begun(workload: Workload, newest: RevisionRecord | None) -> str:
    """Return why what is declared could not begin until its deadline; empty if it did."""
    progressing = conditions.find(workload.status.conditions, "Progressing")
    if progressing is None or progressing.reason != FailureReason.NEVER_READY:
        return ""
    if newest is not None and newest.phase == Phase.FAILED:
        return ""
    return progressing.message


def _unready(workload: Workload) -> str:
    """Say how many new instances are available and why the others are not, if that is known."""
    progressing = conditions.find(workload.status.conditions, "Progressing")
    if progressing is None or progressing.reason not in {
        REVISION_UPDATED,
        _OF_CONFIGS[REVISION_UPDATED],
    }:
        return ""
    text = progressing.message.partition(IS_PROGRESSING)[2]
    return text if ": " in text else ""


def _degradation(workload: Workload, newest: RevisionRecord) -> str:
    """Return why a complete revision is degraded; what was so before it came is not its own."""
    found = conditions.find(workload.status.conditions, conditions.DEGRADED)
    if found is None or not found.is_true:
        return ""
    since = found.last_transition_time
    return found.message if since is None or since >= newest.created else ""


def _hindrance(workload: Workload) -> str:
    """Say what a rollout under way waits for, when it is more than its instances."""
    progressing = conditions.find(workload.status.conditions, "Progressing")
    if progressing is None or progressing.reason in AS_USUAL or not progressing.message:
        return ""
    return f": {progressing.message}"
