"""Next steps of a stored Pod: its one instance is started, waited for, or has ended."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from upwell.api.pod import FAILED, SUCCEEDED, Pod
from upwell.policy.jobs.runs import Run
from upwell.policy.rollouts.instance import index_of, is_interrupted
from upwell.workload.interface import Instance, State

FINALIZER = "upwell.dev/pod"
"""Holds a Pod that is deleted until its instance is gone."""
ALWAYS, NEVER = "Always", "Never"
RUNNING, PENDING = "Running", "Pending"
CRASH_LOOP = "CrashLoopBackOff"
"""Reason of one that waits until it is started again."""
_DEADLINE = "DeadlineExceeded"
_LOST = "ContainerStatusUnknown"
_REVISION_LENGTH = 16
_ENDED = frozenset({State.CREATED, State.LOST, State.EXITED})


@dataclass(frozen=True, slots=True)
class PodPlan:
    """State of a Pod, and what is due now."""

    phase: str
    reason: str = ""
    message: str = ""
    start: bool = False
    look_at: datetime | None = None
    """Time at which something has to be decided that no change announces."""

    @property
    def has_ended(self) -> bool:
        """Return True if nothing of it goes on."""
        return self.phase in {SUCCEEDED, FAILED}


def restart_policy(pod: Pod) -> str:
    """Return what is done when a container ends."""
    return pod.spec.restart_policy or ALWAYS


def is_run_once(pod: Pod) -> bool:
    """Return True if a good end of it is its last."""
    return restart_policy(pod) != ALWAYS


def revision_of(pod: Pod) -> str:
    """Return the revision of its instance: one for each incarnation, whatever is changed of it."""
    return hashlib.sha256(pod.uid.encode()).hexdigest()[:_REVISION_LENGTH]


def deadline_seconds(spec: Mapping[str, object]) -> int | None:
    """Return spec.activeDeadlineSeconds; None: there is none, or it is no number."""
    value = spec.get("activeDeadlineSeconds")
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def plan(
    pod: Pod, instance: Instance | None, now: datetime, well_since: datetime | None = None
) -> PodPlan:
    """Say what comes next; calling again after any part of it was done is always right.

    `well_since` is when machine and runtime were at fault last: that time counts for no deadline.
    """
    ahead = well_since is not None and well_since > now  # the clock went back
    deadline = _deadline(pod, None if ahead else well_since)
    if deadline is not None and now >= deadline:
        seconds = deadline_seconds(pod.spec.model_extra or {})
        return PodPlan(FAILED, _DEADLINE, f"it was active for longer than {seconds} s")
    has_run = pod.status.phase == RUNNING
    if instance is None:
        if has_run and restart_policy(pod) == NEVER:
            return PodPlan(FAILED, _LOST, "its container is gone, and nobody knows how it ended")
        return PodPlan(PENDING, start=True, look_at=deadline)
    if instance.state not in _ENDED:
        is_up = instance.state is State.RUNNING
        return PodPlan(RUNNING if is_up else PENDING, message=instance.message, look_at=deadline)
    return _ended(pod, instance, now, deadline)


def _ended(pod: Pod, instance: Instance, now: datetime, deadline: datetime | None) -> PodPlan:
    policy = restart_policy(pod)
    if policy != ALWAYS and instance.succeeded:
        return PodPlan(SUCCEEDED)
    begun_before = pod.status.phase == RUNNING and instance.state is State.LOST
    is_over = instance.state is State.EXITED or bool(instance.start_error)
    if policy == NEVER and (is_over or begun_before):
        reason = _LOST if begun_before else ""
        return PodPlan(FAILED, reason, instance.start_error or instance.message)
    again = _run(instance).restart_at
    phase = PENDING if instance.state is State.CREATED else RUNNING
    message = instance.start_error or instance.message
    if again <= now:
        return PodPlan(phase, message=message, start=True, look_at=deadline)
    look_at = again if deadline is None else min(again, deadline)
    return PodPlan(phase, CRASH_LOOP, message, look_at=look_at)


def _run(instance: Instance) -> Run:
    return Run(
        index=index_of(instance.name),
        started_at=instance.started_at,
        ended=True,
        succeeded=False,
        restarts=instance.restarts,
        interrupted=is_interrupted(instance),
        losses=instance.losses,
    )


def _deadline(pod: Pod, well_since: datetime | None) -> datetime | None:
    seconds, since = deadline_seconds(pod.spec.model_extra or {}), pod.status.start_time
    if seconds is None or since is None:
        return None
    return max(since, well_since or since) + timedelta(seconds=seconds)
