"""ReplicaSets: the revisions of Deployments, for `kubectl rollout history` and `rollout undo`.

kubectl goes back by itself: it writes the template and the annotations of a ReplicaSet into the
Deployment. So each earlier revision carries the annotation that keeps automation away from it.
"""

import uuid
from collections.abc import Iterator

from upwell.api.apps import Deployment, RevisionRecord
from upwell.api.meta import ObjectMeta, OwnerReference
from upwell.api.revisions import ReplicaSet, ReplicaSetSpec, RevisionStatus
from upwell.policy.jobs.awaited_pods import awaited_pod
from upwell.policy.rollouts.history import rollback_reason, wanted_revision
from upwell.policy.rollouts.settings import template_of
from upwell.policy.rollouts.triggers import HOLD_ANNOTATION, without_hold

_IDENTITIES = uuid.UUID("a7d7a5d2-5b0e-4f0c-9a60-6d2f1f2c7b35")
_REVISION = "deployment.kubernetes.io/revision"
_CAUSE = "kubernetes.io/change-cause"
_HASH_LENGTH = 10


def replica_sets_of(deployment: Deployment) -> list[ReplicaSet]:
    """Return one for each revision that is remembered, newest first.

    The first revision of one that waits for its image is none yet, and has one: its Pod would be
    nobody's to clients that go by ReplicaSets.
    """
    wanted = wanted_revision(deployment)
    return [
        _replica_set(deployment, record, wanted=record.hash == wanted)
        for record in deployment.status.revisions or _awaited(deployment, wanted)
    ]


def _awaited(deployment: Deployment, wanted: str) -> Iterator[RevisionRecord]:
    awaited = awaited_pod(deployment)
    if awaited is not None and awaited.since is not None:
        yield RevisionRecord(
            revision=1, hash=wanted, template=template_of(deployment), created=awaited.since
        )


def _replica_set(deployment: Deployment, record: RevisionRecord, *, wanted: bool) -> ReplicaSet:
    annotations = {_REVISION: str(record.revision), _CAUSE: record.cause}
    if wanted:
        annotations = {**deployment.annotations, **annotations}
    else:
        held = {HOLD_ANNOTATION: rollback_reason(record)}
        annotations = {**without_hold(deployment).annotations, **annotations, **held}
    status = deployment.status
    return ReplicaSet(
        api_version=ReplicaSet.KIND.api_version,
        kind=ReplicaSet.KIND.kind,
        metadata=ObjectMeta(
            name=f"{deployment.name}-{record.hash[:_HASH_LENGTH]}",
            namespace=deployment.namespace,
            uid=str(uuid.uuid5(_IDENTITIES, f"{deployment.uid}/{record.hash}")),
            creation_timestamp=record.created,
            resource_version=deployment.resource_version,
            generation=1,
            labels=dict(record.template.metadata.labels),
            annotations=annotations,
            owner_references=(_owner(deployment),),
        ),
        spec=ReplicaSetSpec(
            replicas=deployment.spec.replicas if wanted else 0,
            selector=deployment.spec.selector,
            template=record.template,
        ),
        status=RevisionStatus(
            replicas=status.updated_replicas,
            ready_replicas=min(status.ready_replicas, status.updated_replicas),
            available_replicas=min(status.available_replicas, status.updated_replicas),
            observed_generation=1,
        )
        if wanted
        else RevisionStatus(observed_generation=1),
    )


def _owner(deployment: Deployment) -> OwnerReference:
    return OwnerReference(
        api_version=Deployment.KIND.api_version,
        kind=Deployment.KIND.kind,
        name=deployment.name,
        uid=deployment.uid,
        controller=True,
    )
