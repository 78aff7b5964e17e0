"""Faults of workloads: rollouts that failed or cannot begin, replicas that are missing, drift."""

from collections.abc import Iterator
from dataclasses import replace

from upwell.api.apps import RevisionRecord
from upwell.api.conditions import DEGRADED, find
from upwell.api.meta import Condition
from upwell.policy.cluster_rollouts.native_revisions import as_rolled_out
from upwell.policy.health.fault import FaultEvent, HealthFault
from upwell.policy.rollouts.commands import is_native, rollout_command
from upwell.policy.rollouts.history import Phase, last_good
from upwell.policy.rollouts.judgement import OWN_REASONS
from upwell.policy.rollouts.report import DRIFTED, PROGRESSING, ROLLED_BACK
from upwell.policy.rollouts.settings import Workload
from upwell.policy.rollouts.steps import FailureReason
from upwell.policy.rollouts.summary import RolloutState, rollout_of
from upwell.policy.rollouts.triggers import IMAGE_TRIGGERED, Reason
from upwell.router.interface import RouterUnavailableError
from upwell.workload.errors import RuntimeUnavailableError

_WAITING = frozenset({"ImageNotResolved"})
"""Reasons why a rollout does not begin that are no fault: what it waits for tells of its own."""
_PASSING = frozenset(
    {"HookRunning", "HookRetrying", RuntimeUnavailableError.reason, RouterUnavailableError.reason}
)
"""Reasons of a rollout that goes on: a hook, or a component that tells of its own fault."""

_NOT_FOLLOWED = frozenset({Reason.STREAM_NOT_FOUND, Reason.TAG_NOT_FOUND, Reason.INVALID_TRIGGER})


def workload_faults(workload: Workload) -> Iterator[HealthFault]:
    """Yield the faults of a Deployment, DeploymentConfig, StatefulSet or DaemonSet."""
    workload = as_rolled_out(workload)
    rollout = list(_rollout_faults(workload))
    yield from rollout
    yield from _trigger_faults(workload)
    degraded = find(workload.status.conditions, DEGRADED)
    # A first revision that failed has no other to serve: one fault, not two.
    alone = last_good(workload.status.revisions) is None
    told = alone and any(one.event is FaultEvent.ROLLOUT_FAILED for one in rollout)
    if degraded is not None and degraded.is_true and not told:
        how = f"see `upwell logs {_name(workload)}`"
        yield HealthFault.of(workload.key, FaultEvent.WORKLOAD_DEGRADED, degraded, how)
    drifted = find(workload.status.conditions, DRIFTED)
    if drifted is not None and drifted.is_true:
        yield HealthFault.of(workload.key, FaultEvent.DRIFTED, drifted)


def _trigger_faults(workload: Workload) -> Iterator[HealthFault]:
    """Yield that nothing is followed any more; before the first revision that is a wait."""
    triggered = find(workload.status.conditions, IMAGE_TRIGGERED)
    if (
        triggered is not None
        and triggered.status == "False"
        and triggered.reason in _NOT_FOLLOWED
        and workload.status.revisions
    ):
        how = "what runs stays, and gets no update"
        yield HealthFault.of(workload.key, FaultEvent.ROLLOUT_BLOCKED, triggered, how)


def _rollout_faults(workload: Workload) -> Iterator[HealthFault]:
    """Yield why the declared template does not serve, where that is a fault."""
    progressing = find(workload.status.conditions, PROGRESSING)
    if rollout_of(workload).state is RolloutState.FAILED:
        yield _failure(workload)
    elif progressing is not None and _is_blocked(progressing):
        fault = HealthFault.of(workload.key, FaultEvent.ROLLOUT_BLOCKED, progressing)
        newest = next(iter(workload.status.revisions), None)
        if progressing.is_true and newest is not None and fault.since is not None:
            # The condition is true since the rollout before.
            fault = replace(fault, since=max(fault.since, newest.created))
        yield fault


def _is_blocked(progressing: Condition) -> bool:
    """Return True if what a rollout waits for does not come by itself."""
    if progressing.status == "False":
        return progressing.reason not in {*_WAITING, FailureReason.NEVER_READY}
    return progressing.is_true and progressing.reason not in {*OWN_REASONS, *_PASSING}


def _failure(workload: Workload) -> HealthFault:
    conditions = workload.status.conditions
    back = find(conditions, ROLLED_BACK)
    found = back if back is not None and back.is_true else find(conditions, PROGRESSING)
    is_back = found is not None and found is back
    event = FaultEvent.ROLLED_BACK if is_back else FaultEvent.ROLLOUT_FAILED
    reason = found.reason if found is not None else FailureReason.NEVER_READY.value
    since = found.last_transition_time if found is not None else None
    message = rollout_of(workload).text
    newest = next(iter(workload.status.revisions), None)
    # What has not begun begins by itself once the cause is gone: there is nothing to retry.
    begun = newest is not None and newest.phase == Phase.FAILED
    how = _retry(workload, newest) if newest is not None and begun else ""
    return HealthFault(workload.key, event, reason, message, since, how)


def _retry(workload: Workload, failed: RevisionRecord) -> str:
    """Name what ends a failure; a cluster goes on trying by itself, and may have nothing before."""
    if not is_native(workload):
        return f"`upwell rollout retry {_name(workload)}`"
    return rollout_command(workload, "undo") if failed.revision > 1 else ""


def _name(workload: Workload) -> str:
    return f"{workload.KIND.singular}/{workload.name}"
