"""Pods of workloads whose images cannot be had: where nothing runs yet, they say why."""

from collections.abc import Container, Iterable
from dataclasses import dataclass
from itertools import islice

from upwell.api import core
from upwell.api.apps import DaemonSet, Job
from upwell.api.conditions import find
from upwell.api.defaults.jobs import without_own_labels
from upwell.api.meta import Condition, ObjectKey, ObjectMeta, Resource
from upwell.api.pod import (
    PULL_BACK_OFF,
    ContainerState,
    ContainerStatus,
    ContainerWaiting,
    Pod,
    PodStatus,
)
from upwell.policy.rollouts.history import wanted_revision
from upwell.policy.rollouts.instance import instance_name
from upwell.policy.rollouts.pod_template import template_hash
from upwell.policy.rollouts.report import IMAGES_AVAILABLE
from upwell.policy.rollouts.settings import WORKLOADS, Workload, instance_labels, template_of
from upwell.server.workloads.pod_view import REVISION_ANNOTATION, condition, references, uid_of
from upwell.store.interface import Change, WatchEvent

AWAITING: tuple[type[Workload | Job], ...] = (*WORKLOADS, Job)
"""Kinds whose Pods are shown while an image is missing."""


@dataclass(slots=True)
class _Awaiting:
    workload: Workload | Job
    missing: Condition
    incarnation: int = 0
    """Number of times that its Pod was deleted: each has another uid."""


class AwaitingWorkloads:
    """Workloads that wait for an image, as the events of their kinds tell."""

    def __init__(self) -> None:
        self._found: dict[ObjectKey, _Awaiting] = {}

    def forget(self, kind: type[Workload | Job]) -> None:
        """Forget the workloads of a kind, of which everything is told anew."""
        for key in [key for key in self._found if key.kind == kind.KIND.kind]:
            del self._found[key]

    def observe(self, event: WatchEvent[Resource]) -> bool:
        """Take an event in; return True if it changes which Pods there are."""
        workload = event.resource
        before = self._found.pop(workload.key, None)
        gone = event.change is Change.DELETED or workload.is_deleting
        if gone or not isinstance(workload, AWAITING):
            return before is not None
        missing = find(workload.status.conditions, IMAGES_AVAILABLE)
        if missing is None or missing.is_true:
            return before is not None
        incarnation = before.incarnation if before is not None else 0
        self._found[workload.key] = _Awaiting(workload, missing, incarnation)
        return True

    def renew(self, pod: Pod) -> None:
        """Have another Pod in the place of one that is deleted, as its workload makes one anew."""
        for one in self._found.values():
            if one.workload.uid in {owner.uid for owner in pod.metadata.owner_references}:
                one.incarnation += 1

    def pods(self, shown: Container[tuple[str, str]]) -> Iterable[Pod]:
        """Yield a Pod for each, beside those that are shown already.

        It has the name of the instance that is started when the image is there: one is shown,
        however many replicas are missing.
        """
        for one in self._found.values():
            workload = one.workload
            revision, replicas = _wanted(workload)
            names = (instance_name(workload, revision, index) for index in range(replicas))
            absent = (name for name in names if (workload.namespace, name) not in shown)
            for name in islice(absent, 1):
                yield _pod(one, name, revision)


def _wanted(workload: Workload | Job) -> tuple[str, int]:
    """Return the revision, and the number of its instances."""
    match workload:
        case Job():
            return template_hash(without_own_labels(workload)), 1
        case DaemonSet():
            return wanted_revision(workload), 1
        case _:
            return wanted_revision(workload), workload.spec.replicas


def _pod(awaiting: _Awaiting, name: str, revision: str) -> Pod:
    workload, missing = awaiting.workload, awaiting.missing
    template = workload.spec.template if isinstance(workload, Job) else template_of(workload)
    since = missing.last_transition_time
    waiting = ContainerState(
        waiting=ContainerWaiting(reason=PULL_BACK_OFF, message=missing.message)
    )
    names = [one.name for one in template.spec.containers]
    unready = "ContainersNotReady"
    return Pod(
        api_version=Pod.KIND.api_version,
        kind=Pod.KIND.kind,
        metadata=ObjectMeta(
            name=name,
            namespace=workload.namespace,
            uid=uid_of(f"{workload.uid}/{name}/{since}/{awaiting.incarnation}"),
            creation_timestamp=since,
            labels=instance_labels(workload, template),
            annotations={REVISION_ANNOTATION: revision},
            owner_references=references(workload),
        ),
        spec=core.PodSpec(
            containers=_of_spec(template.spec.containers),
            init_containers=_of_spec(template.spec.init_containers),
        ),
        status=PodStatus(
            phase="Pending",
            message=missing.message,
            conditions=(
                condition("PodScheduled", since, holds=True),
                condition("Ready", since, unready, missing.message, holds=False),
            ),
            start_time=since,
            container_statuses=tuple(ContainerStatus(name=one, state=waiting) for one in names),
        ),
    )


def _of_spec(containers: Iterable[core.Container]) -> tuple[core.Container, ...]:
    """Return what the Pods of workloads show of their containers: nothing that may be secret."""
    return tuple(
        core.Container(name=one.name, image=one.image, ports=one.ports) for one in containers
    )
