"""Replicas of a DeploymentConfig on a cluster, and the sizes of its ReplicationControllers; pure.

A revision is a ReplicationController, which the cluster keeps at its size; what the rollout policy
says of single replicas is a larger or a smaller one. Which Pod goes is the cluster's choice: those
that are not ready first, then the youngest (pkg/controller, ActivePodsWithRanks). So replicas have
no lasting numbers here: they are counted anew from what there is.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from upwell.api.conditions import find
from upwell.api.meta import ObjectMeta, Resource
from upwell.api.pod import FAILED, SUCCEEDED, ContainerStatus, Pod
from upwell.api.revisions import ReplicationController
from upwell.policy.rollouts.history import REVISION_LABEL
from upwell.policy.rollouts.instance import replica_of
from upwell.policy.rollouts.rollout import Replica
from upwell.policy.rollouts.steps import Drain, StartReplica, Step, Stop
from upwell.workload.instance_spec import Owner
from upwell.workload.interface import Instance, State

HASH_ANNOTATION = "upwell.dev/revision"
"""On a ReplicationController: hash of the revision that it runs."""
_PULLS = frozenset({"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"})
_CRASHES = "CrashLoopBackOff"
_ENDED = frozenset({SUCCEEDED, FAILED})


@dataclass(frozen=True, slots=True)
class ObservedReplica:
    """A Pod of a revision, or the place of one that the cluster has yet to make."""

    replica: Replica
    instance: Instance | None
    """None for the place of one."""
    controller: str
    """Name of its ReplicationController."""


def revision_of(controller: ReplicationController) -> str:
    """Return the hash of the revision that a ReplicationController runs; empty: none of ours."""
    return controller.annotations.get(HASH_ANNOTATION, "")


def observe_replicas(
    controllers: Iterable[ReplicationController], pods: Sequence[Pod]
) -> list[ObservedReplica]:
    """Return the replicas of all revisions; the numbers of each begin at 0."""
    return [one for controller in controllers for one in _of_controller(controller, pods)]


def sizes(
    controllers: Iterable[ReplicationController],
    observed: Iterable[ObservedReplica],
    steps: Iterable[Step],
) -> dict[str, int]:
    """Return the size that each ReplicationController gets by the steps, by name.

    The cluster starts anew by itself what has ended, so that this is no step here.
    """
    found = list(controllers)
    by_revision = {revision_of(one): one.name for one in found}
    present = {(one.replica.revision, one.replica.index) for one in observed}
    staying = {one.replica.name: one.controller for one in observed if not one.replica.stopping}
    change = Counter[str]()
    for step in steps:
        match step:
            case StartReplica() if (step.revision, step.index) not in present:
                change[by_revision.get(step.revision, "")] += 1
            case Drain() | Stop() if step.name in staying:
                change[staying[step.name]] -= 1
            case _:
                pass
    return {one.name: max(one.spec.replicas + change[one.name], 0) for one in found}


def instance_of(pod: Pod, owner: Owner, revision: str, role: str = "") -> Instance:
    """Return a Pod as an instance, as statuses and hooks are judged by."""
    ready = find(pod.status.conditions, "Ready")
    is_ready = ready is not None and ready.is_true and not pod.is_deleting
    since = ready.last_transition_time if ready is not None and is_ready else None
    statuses = (*pod.status.init_container_statuses, *pod.status.container_statuses)
    return Instance(
        name=pod.name,
        owner=owner,
        revision=revision,
        state=_state(pod, statuses),
        ready=is_ready,
        ready_since=since,
        started_at=_created(pod.metadata),
        address=pod.status.pod_ip or "",
        images={},
        restarts=max((one.restart_count for one in statuses), default=0),
        message=_message(pod, statuses),
        role=role,
        exit_codes=dict(_exit_codes(statuses)),
        begun_at=_created(pod.metadata),
        uid=pod.uid,
        probed=all(one.readiness_probe is not None for one in pod.spec.containers),
    )


def _of_controller(
    controller: ReplicationController, pods: Sequence[Pod]
) -> Iterator[ObservedReplica]:
    own = [one for one in pods if _is_of(one, controller)]
    owner = Owner(controller.KIND.kind, controller.namespace, controller.name)
    revision = revision_of(controller)
    alive: list[Instance] = []
    going: list[Instance] = []
    for pod in own:
        instance = instance_of(pod, owner, revision)
        (going if pod.is_deleting else alive).append(instance)
    alive.sort(key=lambda one: (not one.ready, one.started_at, one.name))
    # Beyond its size, the cluster is about to delete the last ones of this order.
    surplus = alive[controller.spec.replicas :]
    index = 0
    for instance in (*alive, *going):
        replica = replace(replica_of(instance, drained=True), index=index)
        is_stopping = instance in surplus or instance in going
        yield ObservedReplica(replace(replica, stopping=is_stopping), instance, controller.name)
        index += 1
    for place in range(len(alive), controller.spec.replicas):
        awaited = Replica(
            name=f"{controller.name}#{place}",
            index=index,
            revision=revision,
            started_at=_created(controller.metadata),
            probed=True,
        )
        yield ObservedReplica(awaited, None, controller.name)
        index += 1


def _is_of(pod: Pod, controller: ReplicationController) -> bool:
    """Return True for a Pod that a ReplicationController counts: none that has ended for good."""
    is_owned = any(one.uid == controller.uid for one in pod.metadata.owner_references)
    named = pod.labels.get(REVISION_LABEL) == controller.name
    return is_owned and named and pod.status.phase not in _ENDED


def _state(pod: Pod, statuses: Sequence[ContainerStatus]) -> State:
    waiting = {one.state.waiting.reason for one in statuses if one.state.waiting is not None}
    if pod.status.phase in _ENDED or _CRASHES in waiting:
        return State.EXITED
    if waiting & _PULLS:
        return State.PULLING
    return State.RUNNING if pod.status.phase == "Running" else State.INITIALIZING


def _exit_codes(statuses: Iterable[ContainerStatus]) -> Iterator[tuple[str, int]]:
    for one in statuses:
        ended = one.state.terminated or (
            one.last_state.terminated if one.state.waiting is not None else None
        )
        if ended is not None:
            yield one.name, ended.exit_code


def _message(pod: Pod, statuses: Iterable[ContainerStatus]) -> str:
    """Say why a Pod is not ready, or how it ended."""
    for one in statuses:
        ended = one.state.terminated or one.last_state.terminated
        waiting = one.state.waiting
        if waiting is not None and waiting.reason not in {"ContainerCreating", "PodInitializing"}:
            why = waiting.message or (ended.message if ended is not None else "")
            return f"container {one.name}: {waiting.reason}: {why.strip()}".rstrip(": ")
        if ended is not None and one.state.terminated is not None and ended.exit_code:
            said = ended.message.strip() or ended.reason
            return f"container {one.name}: exit status {ended.exit_code} ({said})"
    scheduled = find(pod.status.conditions, "PodScheduled")
    if scheduled is not None and scheduled.status == "False":
        return f"{scheduled.reason}: {scheduled.message}"
    return pod.status.message


def _created(metadata: ObjectMeta) -> datetime:
    created = metadata.creation_timestamp
    if created is None:
        raise ValueError(f"{metadata.name} was never stored")
    return created


def controllers_by_revision(
    controllers: Iterable[ReplicationController],
) -> Mapping[str, ReplicationController]:
    """Return ReplicationControllers by the hash of their revision."""
    return {revision_of(one): one for one in controllers}


def is_owned_by(resource: Resource, owner: Resource) -> bool:
    """Return True if an object belongs to another."""
    return any(one.uid == owner.uid for one in resource.metadata.owner_references)
