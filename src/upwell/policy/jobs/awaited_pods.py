"""The Pod of a workload that waits for an image: its names and its identity; pure."""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from upwell.api.apps import DaemonSet, Job
from upwell.api.conditions import find
from upwell.api.defaults.jobs import without_own_labels
from upwell.api.meta import Condition, ObjectReference
from upwell.api.pod import Pod
from upwell.policy.rollouts.history import wanted_revision
from upwell.policy.rollouts.instance import instance_name
from upwell.policy.rollouts.pod_template import template_hash
from upwell.policy.rollouts.report import IMAGES_AVAILABLE
from upwell.policy.rollouts.settings import Workload

_IDENTITIES = uuid.UUID("7a0a6d5c-2f2b-4e59-9d0c-0f7b8f6f2a11")


def uid_of(text: str) -> str:
    """Return the uid of the Pod that the text is about, the same each time."""
    return str(uuid.uuid5(_IDENTITIES, text))


@dataclass(frozen=True, slots=True)
class AwaitedPod:
    """Pod that a workload will have once its image is there: the first of its replicas."""

    workload: Workload | Job
    missing: Condition
    """Condition that says which image is missing, and why."""

    @property
    def since(self) -> datetime | None:
        """The time from which the image is missing."""
        return self.missing.last_transition_time

    @property
    def revision(self) -> str:
        """The revision that waits."""
        if isinstance(self.workload, Job):
            return template_hash(without_own_labels(self.workload))
        return wanted_revision(self.workload)

    def names(self) -> Iterator[str]:
        """Yield the names of the instances that are started when the image is there."""
        workload, revision = self.workload, self.revision
        replicas = 1 if isinstance(workload, Job | DaemonSet) else workload.spec.replicas
        for index in range(replicas):
            yield instance_name(workload, revision, index)

    def uid(self, name: str, incarnation: int = 0) -> str:
        """Return the uid of the Pod of that name; `incarnation`: how often it was deleted."""
        return uid_of(f"{self.workload.uid}/{name}/{self.since}/{incarnation}")

    def reference(self) -> ObjectReference | None:
        """Return what an event of the Pod names it by; None: no replica is wanted."""
        name = next(self.names(), None)
        if name is None:
            return None
        return ObjectReference(
            kind=Pod.KIND.kind,
            namespace=self.workload.namespace,
            name=name,
            api_version=Pod.KIND.api_version,
            uid=self.uid(name),
        )


def awaited_pod(workload: Workload | Job) -> AwaitedPod | None:
    """Return the Pod of a workload that waits for an image; None: it waits for none."""
    missing = find(workload.status.conditions, IMAGES_AVAILABLE)
    return None if missing is None or missing.is_true else AwaitedPod(workload, missing)
