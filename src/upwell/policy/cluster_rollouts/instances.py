"""Pods of a cluster, read as instances: what checks of stages ask about them."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime

from upwell.api.conditions import find
from upwell.api.meta import ObjectKey
from upwell.api.pod import FAILED, SUCCEEDED, ContainerStatus, Pod
from upwell.workload.instance_spec import Owner
from upwell.workload.interface import Instance, ObservedContainer, State

_OUT_OF_MEMORY = "OOMKilled"
_UNKNOWN = "Unknown"
_NODE_NOT_READY = "NodeNotReady"
_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)
_STATES: Mapping[str, State] = {
    "Running": State.RUNNING,
    SUCCEEDED: State.EXITED,
    FAILED: State.EXITED,
    _UNKNOWN: State.LOST,
}
"""State of an instance, by the phase of its Pod; one that is pending is being made."""


def instance_of(pod: Pod, owner: Owner) -> Instance:
    """Return a Pod as an instance of `owner`; its name is `NAMESPACE/NAME`."""
    status = pod.status
    images = {one.name: one.image for one in (*pod.spec.init_containers, *pod.spec.containers)}
    ready = find(status.conditions, "Ready")
    started = status.start_time or pod.metadata.creation_timestamp or _LONG_AGO
    containers = (
        *(_container(one, images, init=True) for one in status.init_container_statuses),
        *(_container(one, images, init=False) for one in status.container_statuses),
    )
    is_ready = ready is not None and ready.is_true
    return Instance(
        name=f"{pod.namespace}/{pod.name}",
        owner=owner,
        revision="",
        state=_STATES.get(status.phase, State.INITIALIZING),
        ready=is_ready,
        ready_since=ready.last_transition_time if ready is not None and is_ready else None,
        started_at=started,
        address=status.pod_ip or "",
        images={},
        restarts=sum(one.restarts for one in containers),
        message="; ".join(_words(pod)),
        exit_codes=_exit_codes(pod, containers),
        begun_at=started,
        uid=pod.uid,
        labels=pod.labels,
        containers=containers,
    )


def _exit_codes(pod: Pod, containers: Iterable[ObservedContainer]) -> Mapping[str, int]:
    """Return how containers ended; each with 0, where the Pod has succeeded (core/v1 PodPhase)."""
    succeeded = pod.status.phase == SUCCEEDED
    known = {one.name: one.exit_code for one in containers if not one.init}
    if succeeded:
        known |= dict.fromkeys((one.name for one in pod.spec.containers), 0)
    return {name: code for name, code in known.items() if code is not None}


def pod_of(name: str) -> ObjectKey:
    """Return the Pod of an instance's name."""
    namespace, _, pod = name.partition("/")
    return ObjectKey(Pod.KIND.kind, namespace, pod)


def _container(
    status: ContainerStatus, images: Mapping[str, str], *, init: bool
) -> ObservedContainer:
    """Return a container; of its image, a status may have another name of the node's."""
    running, ended = status.state.running, status.state.terminated
    began = running if running is not None else ended
    return ObservedContainer(
        status.name,
        status.container_id,
        images.get(status.name, status.image),
        None,
        started_at=None if began is None else began.started_at,
        ended_at=None if ended is None else ended.finished_at,
        running=running is not None,
        ready=status.ready,
        exit_code=None if ended is None else ended.exit_code,
        restarts=status.restart_count,
        init=init,
        out_of_memory=ended is not None and ended.reason == _OUT_OF_MEMORY,
    )


def _words(pod: Pod) -> Iterator[str]:
    """Yield why a Pod is not ready, or has ended."""
    status = pod.status
    if status.reason or status.message:
        yield ": ".join(filter(None, (status.reason, status.message)))
    if _has_lost_its_node(pod):
        yield "its node does not answer"
    scheduled = find(status.conditions, "PodScheduled")
    if scheduled is not None and scheduled.status == "False":
        yield f"{scheduled.reason}: {scheduled.message}"
    for one in (*status.init_container_statuses, *status.container_statuses):
        waiting, ended = one.state.waiting, one.state.terminated
        if waiting is not None:
            yield f"container {one.name}: {waiting.message or waiting.reason}"
        elif ended is not None and ended.exit_code:
            yield f"container {one.name} ended with exit code {ended.exit_code}"


def _has_lost_its_node(pod: Pod) -> bool:
    """Return True for a Pod that the controller of nodes has marked in its kubelet's place.

    That one turns `Ready` alone, with its own reason or none; a kubelet has one, and turns both.
    """
    ready = find(pod.status.conditions, "Ready")
    containers = find(pod.status.conditions, "ContainersReady")
    if ready is None or containers is None or not containers.is_true:
        return False
    return ready.status == "False" and ready.reason in {"", _NODE_NOT_READY}
