"""From an instance to the Pod that Kubernetes' clients see; pure."""

from datetime import datetime

from upwell.api.apps import DaemonSet, Deployment, DeploymentConfig, Job, StatefulSet
from upwell.api.defaults.jobs import OWN_LABELS
from upwell.api.meta import Condition, ObjectMeta, OwnerReference, Resource
from upwell.api.pod import (
    FAILED,
    SUCCEEDED,
    ContainerRunning,
    ContainerState,
    ContainerStatus,
    ContainerTerminated,
    ContainerWaiting,
    Pod,
    PodIP,
    PodStatus,
)
from upwell.api.pod_template import Container, ContainerPort, PodSpec
from upwell.policy.jobs.awaited_pods import uid_of
from upwell.policy.jobs.pods import CRASH_LOOP
from upwell.policy.rollouts.history import find, revision_annotations, revision_labels
from upwell.policy.rollouts.instance import replica_of
from upwell.policy.rollouts.settings import template_of
from upwell.workload.interface import Instance, ObservedContainer, State

_ROLE = "upwell.dev/role"
REVISION_ANNOTATION = "upwell.dev/revision"
_RUNTIME = "podman://"
_LOST = "ContainerStatusUnknown"
_SIGKILL = 137
_OUT_OF_MEMORY = "OOMKilled"
"""Exit code that Kubernetes gives a container of whose end it has no evidence."""


def pod_of(instance: Instance, owner: Resource | None) -> Pod:
    """Return the Pod of an instance; `owner` is its workload, or its Pod, while that exists."""
    if isinstance(owner, Pod):
        return stored_pod_of(owner, instance)
    return Pod(
        api_version=Pod.KIND.api_version,
        kind=Pod.KIND.kind,
        metadata=ObjectMeta(
            name=instance.name,
            namespace=instance.owner.namespace,
            uid=instance.uid or _identity(instance),
            creation_timestamp=instance.begun_at or instance.started_at,
            labels={**instance.labels, **_found_by(instance, owner)},
            annotations={REVISION_ANNOTATION: instance.revision}
            | ({_ROLE: instance.role} if instance.role else {})
            | _known_by(instance, owner),
            owner_references=references(owner),
        ),
        spec=_spec(instance, owner),
        status=_status(instance),
    )


def stored_pod_of(pod: Pod, instance: Instance | None) -> Pod:
    """Return a stored Pod with the status that its instance has, if there is one."""
    status = _status(instance) if instance is not None else PodStatus()
    phase = pod.status.phase or "Pending"
    if instance is not None and phase not in {SUCCEEDED, FAILED}:
        phase = phase if instance.state is State.EXITED else _phase(instance)
    containers = status.container_statuses
    if phase == "Pending" or pod.status.reason == CRASH_LOOP:
        known = {one.name: one for one in containers}
        waiting = ContainerWaiting(
            reason=pod.status.reason or "ContainerCreating", message=pod.status.message
        )
        containers = tuple(
            _waits(known.get(one.name) or ContainerStatus(name=one.name), waiting)
            for one in pod.spec.containers
        )
    changes = {
        "phase": phase,
        "reason": pod.status.reason if phase == FAILED else "",
        "message": pod.status.message or status.message,
        "start_time": pod.status.start_time,
        "container_statuses": containers,
    }
    shown = pod.with_status(status.model_copy(update=changes))
    return shown.with_metadata(resource_version=None)  # the feed gives it one


def _waits(status: ContainerStatus, waiting: ContainerWaiting) -> ContainerStatus:
    """Return a container's status that says what it waits for, unless it runs."""
    if status.state.running is not None or (
        status.state.waiting is not None and status.state.waiting.reason == "PodInitializing"
    ):
        return status
    changes = {"state": ContainerState(waiting=waiting)}
    if status.state.terminated is not None:
        changes["last_state"] = status.state
    return status.model_copy(update=changes)


def _identity(instance: Instance) -> str:
    """Return a uid that an instance keeps when it is started anew, as a Pod does."""
    return uid_of(f"{instance.name}/{instance.revision}/{instance.begun_at}")


def _found_by(instance: Instance, owner: Resource | None) -> dict[str, str]:
    """Return the labels by which clients find the Pods of a Job, or of a revision.

    Earlier versions started those of Jobs without them.
    """
    if isinstance(owner, Job):
        labels = owner.spec.template.metadata.labels
        return {key: labels[key] for key in OWN_LABELS & labels.keys()}
    if not isinstance(owner, DeploymentConfig):
        return {}
    record = find(owner.status.revisions, instance.revision)
    return {} if record is None else revision_labels(owner.name, record.revision)


def _known_by(instance: Instance, owner: Resource | None) -> dict[str, str]:
    """Return the annotations by which clients tell whose Pod it is, as of a DeploymentConfig."""
    if not isinstance(owner, DeploymentConfig):
        return {}
    record = find(owner.status.revisions, instance.revision)
    return {} if record is None else revision_annotations(owner.name, record.revision)


def references(owner: Resource | None) -> tuple[OwnerReference, ...]:
    """Return the reference to a Pod's workload, if that exists."""
    if owner is None:
        return ()
    return (
        OwnerReference(
            api_version=owner.KIND.api_version,
            kind=owner.KIND.kind,
            name=owner.name,
            uid=owner.uid,
            controller=True,
        ),
    )


def _spec(instance: Instance, owner: Resource | None) -> PodSpec:
    """Return what is known of how it was made: names and images, and the ports of the template.

    Environment and commands are left out: they may hold secrets, and a template may have changed.
    """
    ports = _ports(owner)
    containers = [
        Container(name=one.name, image=one.image, ports=ports.get(one.name, ()))
        for one in instance.containers
        if not one.init
    ]
    return PodSpec(
        # While images are pulled there are only names.
        containers=tuple(containers) or tuple(Container(name=name) for name in instance.images),
        init_containers=tuple(
            Container(name=one.name, image=one.image) for one in instance.containers if one.init
        ),
    )


def _ports(owner: Resource | None) -> dict[str, tuple[ContainerPort, ...]]:
    match owner:
        case Job():
            template = owner.spec.template
        case Deployment() | DeploymentConfig() | StatefulSet() | DaemonSet():
            template = template_of(owner)
        case _:
            return {}
    return {one.name: one.ports for one in template.spec.containers}


def _status(instance: Instance) -> PodStatus:
    main = [_container(one, instance) for one in instance.containers if not one.init]
    return PodStatus(
        phase=_phase(instance),
        message=instance.message,
        conditions=_conditions(instance),
        pod_ip=instance.address or None,
        pod_ips=(PodIP(ip=instance.address),) if instance.address else (),
        start_time=instance.begun_at or instance.started_at,
        container_statuses=tuple(main)
        or tuple(_awaited(name, instance) for name in instance.images),
        init_container_statuses=tuple(
            _container(one, instance) for one in instance.containers if one.init
        ),
    )


def _phase(instance: Instance) -> str:
    """Return core/v1 PodPhase: a replica that has ended is started anew, and so is not Failed."""
    if instance.state is State.RUNNING:
        return "Running"
    if instance.state is State.LOST:
        return "Unknown"
    if instance.state is not State.EXITED:
        return "Pending"
    if not _runs_once(instance):
        return "Running"
    return "Succeeded" if instance.succeeded else "Failed"


def _runs_once(instance: Instance) -> bool:
    return bool(instance.role) or instance.owner.kind == Job.KIND.kind


def _conditions(instance: Instance) -> tuple[Condition, ...]:
    initialized = instance.state in {State.RUNNING, State.EXITED}
    since = instance.ready_since or instance.started_at
    why = "" if instance.ready else "ContainersNotReady"
    begun = instance.begun_at or instance.started_at
    return (
        condition("PodScheduled", begun, holds=True),
        condition("Initialized", instance.started_at, holds=initialized),
        condition("ContainersReady", since, why, instance.message, holds=instance.ready),
        condition("Ready", since, why, instance.message, holds=instance.ready),
    )


def condition(
    kind: str, since: datetime | None, reason: str = "", message: str = "", *, holds: bool
) -> Condition:
    """Return a condition of a Pod (core/v1 PodCondition)."""
    return Condition(
        type=kind,
        status="True" if holds else "False",
        reason=reason,
        message=message,
        last_transition_time=since,
    )


def _container(one: ObservedContainer, instance: Instance) -> ContainerStatus:
    state, last = _state(one, instance), ContainerState()
    if one.previous is not None:
        last = _state(one.previous, instance)
    if (back_off := _back_off(one, instance)) is not None:
        state, last = ContainerState(waiting=back_off), state
    return ContainerStatus(
        name=one.name,
        ready=one.ready,
        restart_count=one.restarts,
        image=one.image,
        image_id=_image_id(one),
        container_id=f"{_RUNTIME}{one.id}",
        started=one.running,
        state=state,
        last_state=last,
    )


def _back_off(one: ObservedContainer, instance: Instance) -> ContainerWaiting | None:
    """Say that a container waits until its replica is started anew; None: it does not.

    The words are kubelet's. One that has run for long is started at once, and waits for nothing.
    Of a stored Pod its status says it.
    """
    if instance.state is not State.EXITED or _runs_once(instance):
        return None
    if one.ended_at is None or one.lost or (one.init and not one.exit_code):
        return None
    again = replica_of(instance, drained=False).restart_at
    if instance.owner.kind == Pod.KIND.kind or one.ended_at >= again:
        return None
    seconds = (again - instance.started_at).total_seconds()
    pod = f"{instance.name}_{instance.owner.namespace}({instance.uid or _identity(instance)})"
    message = f"back-off {seconds:.0f}s restarting failed container={one.name} pod={pod}"
    return ContainerWaiting(reason=CRASH_LOOP, message=message)


def _image_id(one: ObservedContainer) -> str:
    """Return the image with the digest that really runs, whatever it was started by."""
    repository = one.image.partition("@")[0]
    return f"{repository}@{one.digest}" if one.digest else ""


def _state(one: ObservedContainer, instance: Instance) -> ContainerState:
    if one.running:
        return ContainerState(running=ContainerRunning(started_at=one.started_at))
    if one.lost:
        terminated = ContainerTerminated(
            exit_code=_SIGKILL, reason=_LOST, message=instance.message, started_at=one.started_at
        )
        return ContainerState(terminated=terminated)
    if one.exit_code is not None:
        reason = "Error" if one.exit_code else "Completed"
        reason = _OUT_OF_MEMORY if one.out_of_memory else reason
        terminated = ContainerTerminated(
            exit_code=one.exit_code,
            reason=reason,
            started_at=one.started_at,
            finished_at=one.ended_at,
        )
        return ContainerState(terminated=terminated)
    return _waiting(instance)


def _awaited(name: str, instance: Instance) -> ContainerStatus:
    """Return the status of a container that is not made yet."""
    return ContainerStatus(name=name, state=_waiting(instance))


def _waiting(instance: Instance) -> ContainerState:
    waits = instance.state is State.INITIALIZING
    reason = "PodInitializing" if waits else "ContainerCreating"
    return ContainerState(waiting=ContainerWaiting(reason=reason, message=instance.message))
