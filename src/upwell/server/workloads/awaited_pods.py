"""Pods of workloads whose images cannot be had: where nothing runs yet, they say why."""

from collections.abc import Container, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import islice

from upwell.api import pod_template
from upwell.api.apps import Job
from upwell.api.meta import ObjectKey, ObjectMeta, Resource
from upwell.api.pod import (
    PULL_BACK_OFF,
    ContainerState,
    ContainerStatus,
    ContainerWaiting,
    Pod,
    PodStatus,
)
from upwell.policy.jobs.awaited_pods import AwaitedPod, awaited_pod
from upwell.policy.rollouts.settings import WORKLOADS, Workload, instance_labels, template_of
from upwell.server.workloads.pod_view import REVISION_ANNOTATION, condition, references
from upwell.store.interface import Change, WatchEvent

AWAITING: tuple[type[Workload | Job], ...] = (*WORKLOADS, Job)
"""Kinds whose Pods are shown while an image is missing."""


@dataclass(slots=True)
class _Awaiting:
    awaited: AwaitedPod
    incarnation: int = 0
    """Number of times that its Pod was deleted: each has another uid."""
    renewed: datetime | None = None
    """Time of the last deletion."""


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
        awaited = awaited_pod(workload)
        if awaited is None:
            return before is not None
        known = before or _Awaiting(awaited)
        self._found[workload.key] = replace(known, awaited=awaited)
        return True

    def renew(self, pod: Pod, now: datetime) -> None:
        """Have another Pod in the place of one that is deleted, as its workload makes one anew."""
        for one in self._found.values():
            if one.awaited.workload.uid in {owner.uid for owner in pod.metadata.owner_references}:
                one.incarnation += 1
                one.renewed = now

    def pods(self, shown: Container[tuple[str, str]]) -> Iterable[Pod]:
        """Yield a Pod for each, beside those that are shown already.

        It has the name of the instance that is started when the image is there: one is shown,
        however many replicas are missing.
        """
        for one in self._found.values():
            namespace = one.awaited.workload.namespace
            absent = (name for name in one.awaited.names() if (namespace, name) not in shown)
            for name in islice(absent, 1):
                yield _pod(one, name)


def _pod(awaiting: _Awaiting, name: str) -> Pod:
    awaited = awaiting.awaited
    workload, missing = awaited.workload, awaited.missing
    template = workload.spec.template if isinstance(workload, Job) else template_of(workload)
    since = awaiting.renewed or awaited.since
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
            uid=awaited.uid(name, awaiting.incarnation),
            creation_timestamp=since,
            labels=instance_labels(workload, template),
            annotations={REVISION_ANNOTATION: awaited.revision},
            owner_references=references(workload),
        ),
        spec=pod_template.PodSpec(
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


def _of_spec(containers: Iterable[pod_template.Container]) -> tuple[pod_template.Container, ...]:
    """Return what the Pods of workloads show of their containers: nothing that may be secret."""
    return tuple(
        pod_template.Container(name=one.name, image=one.image, ports=one.ports)
        for one in containers
    )
