"""State of a rollout that a cluster carries out, as its objects tell it.

Sources: kubectl's `rollout status` (polymorphichelpers/rollout_status.go), apps/v1 conditions of
Deployments, reasons of the kubelet for containers that wait.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from upwell.api.apps import CronJob, DaemonSet, Deployment, StatefulSet
from upwell.api.conditions import find
from upwell.api.meta import Condition, format_time
from upwell.api.pod_template import PodSpec
from upwell.cluster.interface import PodContainer, PodRecord
from upwell.policy.cluster_rollouts.note import RolloutNote
from upwell.policy.rollouts.summary import REVISION_AVAILABLE, RolloutState

type NativeWorkload = Deployment | StatefulSet | DaemonSet | CronJob

NATIVE_WORKLOADS: tuple[type[NativeWorkload], ...] = (
    Deployment,
    StatefulSet,
    DaemonSet,
    CronJob,
)
"""Kinds whose rollouts a cluster carries out by itself, and their images triggers."""

NO_DEADLINE = 2**31 - 1
"""`progressDeadlineSeconds` of a Deployment without one: it has no condition Progressing
(HasProgressDeadline of deployment_util.go)."""
DEADLINE = timedelta(minutes=10)
"""Time that a rollout may take of a kind that has no progressDeadlineSeconds."""
_PULL_GRACE = timedelta(minutes=1)
"""Time for which a pull may fail: registries come back."""
_CRASHES = 3
"""Restarts from which on a container that waits to be restarted loops."""
_STUCK = "ProgressDeadlineExceeded"
_NO_NAME = "InvalidImageName"
_NOT_PULLED = frozenset({"ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", _NO_NAME})
_LOOPS = "CrashLoopBackOff"


class WorkloadFailureReason(StrEnum):
    """Reason why a rollout is given up."""

    STUCK = "ProgressDeadlineExceeded"
    CRASH_LOOPING = "CrashLooping"
    NOT_PULLED = "ImageNotPulled"


@dataclass(frozen=True, slots=True)
class RolloutObservation:
    """State of the newest rollout."""

    state: RolloutState
    reason: str = ""
    """Of a failure."""
    message: str = ""
    """Reason why it waits, or why it failed."""
    look_again: datetime | None = None
    """Time at which it fails unless something changes, where no change of an object tells."""


def observe(
    workload: NativeWorkload, pods: Iterable[PodRecord], note: RolloutNote, now: datetime
) -> RolloutObservation:
    """Return how the rollout of the images in `note` stands; `pods` are those of the workload.

    A rollout that was complete once stays so: what happens afterwards has another cause, unless
    it was complete because processes were started, and they crash.
    """
    since = note.since or now
    troubled = [
        one for pod in pods for one in pod.containers if one.image in _template_images(workload)
    ]
    if note.complete or _was_completed(workload, note):
        crash = _crash_at_start(workload, troubled, note, now)
        return crash or RolloutObservation(RolloutState.COMPLETE)
    failure, pull_again = _failure_of(troubled, since, now)
    if failure is not None:
        return failure
    detail = _detail(workload, troubled)
    end = None if isinstance(workload, Deployment | CronJob) else since + DEADLINE
    stuck = ""
    if isinstance(workload, Deployment) and is_stuck(workload):
        end = _earliest_verdict(workload, note, now)
        if end is None:
            stuck = f"no progress for {workload.spec.progress_deadline_seconds} s"
    elif end is not None and now >= end:
        stuck = f"not rolled out within {DEADLINE.total_seconds():.0f} s"
    if stuck:
        return RolloutObservation(RolloutState.FAILED, WorkloadFailureReason.STUCK, stuck + detail)
    times = [one for one in (end, pull_again) if one is not None]
    text = f"{_progress(workload)}{detail}"
    return RolloutObservation(RolloutState.PROGRESSING, "", text, min(times, default=None))


def _earliest_verdict(workload: Deployment, note: RolloutNote, now: datetime) -> datetime | None:
    """Return when the cluster can first say that this rollout is stuck, if that is still to come.

    What it says before is about the rollout that this one undoes: images that are put back have a
    ReplicaSet, and the condition stays until its Pods change (deployment/sync.go of Kubernetes).
    """
    if note.since is None or note.since > now:
        return None
    due = note.since + timedelta(seconds=workload.spec.progress_deadline_seconds)
    return due if now < due else None


def stays_up(workload: NativeWorkload, pods: Iterable[PodRecord]) -> RolloutObservation:
    """Return whether what was rolled out in full goes on running: failed if it crashes."""
    images = _template_images(workload)
    containers = [one for pod in pods for one in pod.containers if one.image in images]
    crash = next(filter(None, map(_crash_loop, containers)), None)
    if crash is not None:
        return crash
    match workload:
        case CronJob():
            return RolloutObservation(RolloutState.COMPLETE)
        case DaemonSet():
            ready, wanted = workload.status.number_ready, workload.status.desired_number_scheduled
        case _:
            ready, wanted = workload.status.ready_replicas, workload.spec.replicas
    if ready >= wanted and sees_newest(workload):
        return RolloutObservation(RolloutState.COMPLETE)
    text = f"{ready} of {wanted} ready{_detail(workload, containers)}"
    return RolloutObservation(RolloutState.PROGRESSING, "", text)


def keeps_completion(workload: NativeWorkload) -> bool:
    """Return True if the workload's own status says for good that a rollout was complete."""
    if isinstance(workload, Deployment):
        return _has_deadline(workload)
    return not isinstance(workload, DaemonSet)


def _was_completed(workload: NativeWorkload, note: RolloutNote) -> bool:
    if isinstance(workload, CronJob):
        return _has_succeeded_since(workload, note)
    return is_rolled_out(workload)


def _has_succeeded_since(workload: CronJob, note: RolloutNote) -> bool:
    """Return True if a run has succeeded since the images were set."""
    last = workload.status.last_successful_time
    if last is None:
        return False
    if note.last_success is not None:
        return format_time(last) != note.last_success
    return note.since is not None and last > note.since  # noted by an older version


def last_success(workload: NativeWorkload) -> str | None:
    """Return when a CronJob last succeeded, for its note: its cluster's clock is not Upwell's."""
    if not isinstance(workload, CronJob):
        return None
    last = workload.status.last_successful_time
    return format_time(last) if last is not None else ""


def is_rolled_out(workload: Deployment | StatefulSet | DaemonSet) -> bool:
    """Return True if the cluster has rolled the newest template out; later crashes change nothing.

    A DaemonSet and a Deployment without a deadline tell of that no more once a Pod of theirs is
    not available.
    """
    match workload:
        case Deployment() if not _has_deadline(workload):
            return sees_newest(workload) and _deployment_has_all(workload)
        case Deployment():
            found = find(workload.status.conditions, "Progressing")
            return sees_newest(workload) and _is_available(found) and _is_updated(workload)
        case StatefulSet():
            return sees_newest(workload) and _stateful_set_has_all(workload)
        case DaemonSet() if _is_on_delete(workload):
            return sees_newest(workload)
        case DaemonSet():
            status = workload.status
            wanted = status.desired_number_scheduled
            updated = status.updated_number_scheduled >= wanted <= status.number_available
            return sees_newest(workload) and updated


def _has_deadline(workload: Deployment) -> bool:
    return workload.spec.progress_deadline_seconds < NO_DEADLINE


def _deployment_has_all(workload: Deployment) -> bool:
    """Return True if all Pods are of the newest template, and available."""
    status = workload.status
    has_all = status.updated_replicas >= workload.spec.replicas
    return has_all and status.replicas <= status.updated_replicas <= status.available_replicas


def _is_available(progressing: Condition | None) -> bool:
    return progressing is not None and progressing.reason == REVISION_AVAILABLE


def _is_updated(workload: Deployment) -> bool:
    """Return True unless the condition is still that of the rollout before."""
    status = workload.status
    return status.updated_replicas >= min(workload.spec.replicas, status.replicas)


def _stateful_set_has_all(workload: StatefulSet) -> bool:
    status, extra = workload.status, workload.status.model_extra or {}
    partition = rolling_partition(workload)
    if partition is None:
        return True
    if partition:
        return status.updated_replicas >= max(workload.spec.replicas - partition, 0)
    # They become the same when all Pods are updated and ready, and stay so.
    return extra.get("currentRevision") == extra.get("updateRevision")


def rolling_partition(workload: StatefulSet) -> int | None:
    """Return the ordinal from which on Pods get the newest template; None: no Pod is replaced."""
    if _is_on_delete(workload):
        return None
    return int(_mapping(_strategy(workload).get("rollingUpdate")).get("partition") or 0)


def _is_on_delete(workload: StatefulSet | DaemonSet) -> bool:
    """Return True if no controller replaces Pods: a person deletes them when it suits them."""
    return _strategy(workload).get("type") == "OnDelete"


def _strategy(workload: StatefulSet | DaemonSet) -> dict[str, Any]:
    return _mapping((workload.spec.model_extra or {}).get("updateStrategy"))


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def sees_newest(workload: Deployment | StatefulSet | DaemonSet) -> bool:
    """Return True if the cluster's controller has seen the newest spec."""
    return (workload.status.observed_generation or 0) >= workload.generation


def _pod_of(workload: NativeWorkload) -> PodSpec:
    if isinstance(workload, CronJob):
        return workload.spec.job_template.spec.template.spec
    return workload.spec.template.spec


def _template_images(workload: NativeWorkload) -> set[str]:
    pod = _pod_of(workload)
    return {one.image for one in (*pod.containers, *pod.init_containers)}


def _failure_of(
    containers: Iterable[PodContainer], since: datetime, now: datetime
) -> tuple[RolloutObservation | None, datetime | None]:
    """Return the failure that containers show, and when one shows it unless it gets better."""
    again: datetime | None = None
    for one in containers:
        if crash := _crash_loop(one):
            return crash, None
        if one.waits in _NOT_PULLED:
            if one.waits == _NO_NAME or now >= since + _PULL_GRACE:
                why = f"image {one.image} of container {one.name} is not pulled: {_words(one)}"
                return RolloutObservation(
                    RolloutState.FAILED, WorkloadFailureReason.NOT_PULLED, why
                ), None
            again = since + _PULL_GRACE
    return None, again


def _crash_at_start(
    workload: NativeWorkload, containers: Iterable[PodContainer], note: RolloutNote, now: datetime
) -> RolloutObservation | None:
    """Return the failure of containers that were Ready for no other reason than that they began.

    The kubelet takes a container without a probe as Ready while its process runs, and without
    `minReadySeconds` a moment of it completes a rollout.
    """
    if isinstance(workload, CronJob) or workload.spec.min_ready_seconds or note.since is None:
        return None
    if not note.since <= now < note.since + DEADLINE:
        return None
    unprobed = {
        one.name
        for one in _pod_of(workload).containers
        if one.readiness_probe is None and one.startup_probe is None
    }
    crashes = (_crash_loop(one) for one in containers if one.name in unprobed)
    return next(filter(None, crashes), None)


def cannot_run(one: PodContainer) -> bool:
    """Return True for a container that crashes again and again, or whose image is not pulled."""
    return one.waits in _NOT_PULLED or _crash_loop(one) is not None


def _crash_loop(one: PodContainer) -> RolloutObservation | None:
    if one.waits != _LOOPS or one.restarts < _CRASHES:
        return None
    why = f"container {one.name} has crashed {one.restarts} times: {_words(one)}"
    return RolloutObservation(RolloutState.FAILED, WorkloadFailureReason.CRASH_LOOPING, why)


def pod_trouble(pod: PodRecord) -> str:
    """Say why the first container of a Pod that waits does; empty: none does."""
    one = next((one for one in pod.containers if one.waits), None)
    if one is None:
        return ""
    said = one.message if one.message.startswith(one.waits) else f"{one.waits}: {one.message}"
    return f"container {one.name}: {said.removesuffix(': ')}"


def _words(container: PodContainer) -> str:
    return container.message or container.waits


def _detail(workload: NativeWorkload, containers: Iterable[PodContainer]) -> str:
    """Return what is known of the cause, to be put behind a verdict."""
    waiting = next((one for one in containers if one.waits), None)
    if waiting is not None:
        return f": container {waiting.name}: {_words(waiting)}"
    failure = find(workload.status.conditions, "ReplicaFailure")
    return f": {failure.message}" if failure is not None and failure.is_true else ""


def _progress(workload: NativeWorkload) -> str:
    match workload:
        case CronJob():
            return "its next run has the image"
        case DaemonSet():
            wanted = workload.status.desired_number_scheduled
            return f"{workload.status.updated_number_scheduled} of {wanted} updated"
        case _:
            return f"{workload.status.updated_replicas} of {workload.spec.replicas} updated"


def is_stuck(workload: Deployment) -> bool:
    """Return True if the cluster says that its `progressDeadlineSeconds` are over."""
    found = find(workload.status.conditions, "Progressing")
    return sees_newest(workload) and found is not None and found.reason == _STUCK
