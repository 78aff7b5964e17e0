"""Going back to an earlier revision by hand, and handing over to automation again."""

from collections.abc import Callable
from datetime import datetime
from typing import ClassVar

from upwell.api.apps import DeploymentConfig, RequestedRevision, RevisionRecord
from upwell.api.meta import ObjectKey, Resource
from upwell.policy.rollouts.history import Phase, Records, wanted_revision
from upwell.policy.rollouts.pod_template import template_hash
from upwell.policy.rollouts.settings import WORKLOADS, Workload, is_paused, with_pod_template
from upwell.policy.rollouts.triggers import HOLD_ANNOTATION, without_hold
from upwell.store.interface import Store


class RollbackError(Exception):
    """Nothing was rolled back; `reason` is a Kubernetes StatusReason."""

    reason: ClassVar[str] = "Invalid"


class NoRevisionsError(RollbackError):
    """The kind keeps no revisions."""

    def __init__(self, key: ObjectKey) -> None:
        kinds = ", ".join(kind.KIND.kind for kind in WORKLOADS)
        super().__init__(f"{key} keeps no revisions: only {kinds} can be rolled back")


class RevisionNotFoundError(RollbackError):
    """There is no such revision, or none to go back to."""

    reason = "NotFound"

    def __init__(self, key: ObjectKey, wanted: int | None, records: Records) -> None:
        known = ", ".join(str(record.revision) for record in records) or "none"
        what = "no earlier revision has served" if wanted is None else f"no revision {wanted}"
        super().__init__(f"{key}: {what}; known revisions: {known}")


class PausedWorkloadError(RollbackError):
    """The workload is paused, and resuming it would lift the hold too. As oc and kubectl say it."""

    def __init__(self, workload: Workload) -> None:
        refusal = (
            "cannot rollback a paused deployment config"
            if isinstance(workload, DeploymentConfig)
            else "you cannot rollback a paused deployment"
        )
        super().__init__(f"{refusal}: {workload.key} has spec.paused; `rollout resume` first")


class SameRevisionError(RollbackError):
    """The revision is the declared one already."""

    def __init__(self, key: ObjectKey, record: RevisionRecord) -> None:
        super().__init__(f"{key}: revision {record.revision} is what the template says already")


async def rollback(
    store: Store,
    kind: type[Resource],
    namespace: str,
    name: str,
    to_revision: int | None,
    clock: Callable[[], datetime],
) -> Resource:
    """Write the template of an earlier revision back, and hold automation away from it.

    Without `to_revision`, the last one that served in full before the declared one. A person's
    decision outranks triggers until `resume`. Raises RollbackError or StoreError.
    """
    workload = await store.get(kind, namespace, name)
    if not isinstance(workload, WORKLOADS):
        raise NoRevisionsError(workload.key)
    if is_paused(workload):
        raise PausedWorkloadError(workload)
    record = _chosen(workload, to_revision)
    declared = template_hash(record.template)
    if record.hash != declared or workload.status.requested is not None:
        # Of several rollouts of one template, the one that is meant; it says nothing of others.
        requested = RequestedRevision(template=declared, revision=record.hash)
        status = workload.status.model_copy(update={"requested": requested})
        workload = await store.update_status(workload.with_status(status))
    reason = f"rolled back to revision {record.revision} by hand, {clock():%Y-%m-%d %H:%M} UTC"
    annotations = {**without_hold(workload).annotations, HOLD_ANNOTATION: reason}
    back = with_pod_template(workload, record.template).with_metadata(annotations=annotations)
    return await store.update(back)


async def resume(store: Store, kind: type[Resource], namespace: str, name: str) -> Resource:
    """Take the hold away, so that triggers act again; nothing happens when there is none."""
    workload = await store.get(kind, namespace, name)
    return await store.update(without_hold(workload))


def _chosen(workload: Workload, to_revision: int | None) -> RevisionRecord:
    records = workload.status.revisions
    declared = wanted_revision(workload)
    if to_revision is None:
        for record in records:
            if record.phase == Phase.COMPLETE and record.hash != declared:
                return record
        raise RevisionNotFoundError(workload.key, to_revision, records)
    for record in records:
        if record.revision == to_revision:
            if record.hash == declared:
                raise SameRevisionError(workload.key, record)
            return record
    raise RevisionNotFoundError(workload.key, to_revision, records)
