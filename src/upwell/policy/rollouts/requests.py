"""Rollouts that a person asks for, cancels, retries or undoes: whether they may be; pure.

The refusals of DeploymentConfigs are in OpenShift's own words (oc/pkg/cli/rollout): scripts
look for them.
"""

from collections.abc import Mapping
from datetime import datetime

from upwell.api.apps import DeploymentConfig, RequestedRevision, RevisionRecord
from upwell.api.conditions import find, set_condition
from upwell.api.meta import Condition, ObjectKey, Resource
from upwell.policy.rollouts.commands import is_native, resumes, rollout_command
from upwell.policy.rollouts.history import (
    CANCELLED_BY_PERSON,
    Phase,
    Records,
    last_good,
    newest_alike,
    next_version,
    rollback_reason,
    wanted_revision,
    with_record,
)
from upwell.policy.rollouts.image_ownership import promoted_containers
from upwell.policy.rollouts.pod_template import template_hash
from upwell.policy.rollouts.report import PROGRESSING, failure_reason
from upwell.policy.rollouts.settings import (
    ROLL_OUT_ANNOTATION,
    WORKLOADS,
    Workload,
    is_paused,
    template_of,
    with_pod_template,
)
from upwell.policy.rollouts.summary import (
    REVISION_CREATED,
    REVISION_UPDATED,
    progressing_reason,
)
from upwell.policy.rollouts.triggers import (
    HOLD_ANNOTATION,
    IMAGE_TRIGGERED,
    Reason,
    Slot,
    with_images,
    without_hold,
)


class RolloutRefusedError(Exception):
    """Refusal of a request about a rollout; the message names the object and the next step."""


class NoRolloutsError(RolloutRefusedError):
    """The kind has no such verb."""

    def __init__(
        self, key: ObjectKey, verb: str, kinds: tuple[type[Resource], ...], next_step: str
    ) -> None:
        names = ", ".join(kind.KIND.kind for kind in kinds)
        super().__init__(f"{key}: `{verb}` is for {names}; {next_step}")


class NoRevisionsError(RolloutRefusedError):
    """The kind keeps no revisions."""

    def __init__(self, key: ObjectKey) -> None:
        kinds = ", ".join(kind.KIND.kind for kind in WORKLOADS)
        super().__init__(f"{key} keeps no revisions: only {kinds} can be rolled back")


class PausedWorkloadError(RolloutRefusedError):
    """The workload is paused, and resuming it would lift a hold too."""

    def __init__(self, workload: Workload, message: str) -> None:
        resume = resumes(workload, "`rollout resume`")
        super().__init__(f"{message}: {workload.key} has spec.paused; {resume} first")


class ClusterRolloutError(RolloutRefusedError):
    """A cluster rolls the workload out, and keeps its revisions."""

    def __init__(self, workload: Workload, step: str) -> None:
        super().__init__(
            f"{workload.key}: its cluster rolls it out, and keeps its revisions: {step}"
        )


class InProgressError(RolloutRefusedError):
    """A rollout is under way already."""

    def __init__(self, revision: int) -> None:
        super().__init__(
            f"#{revision} is already in progress (Running); wait for it, or `rollout cancel` it"
        )


class NothingToDoError(RolloutRefusedError):
    """The newest rollout is not in the phase that the verb is for."""


class RevisionNotFoundError(RolloutRefusedError):
    """There is no such revision, or none to go back to."""

    def __init__(self, key: ObjectKey, wanted: int | None, records: Records) -> None:
        known = ", ".join(str(record.revision) for record in records) or "none"
        what = "no earlier revision has served" if wanted is None else f"no revision {wanted}"
        super().__init__(f"{key}: {what}; known revisions: {known}")


class SameRevisionError(RolloutRefusedError):
    """The revision is the declared one already."""

    def __init__(self, key: ObjectKey, record: RevisionRecord) -> None:
        super().__init__(f"{key}: revision {record.revision} is what the template says already")


def require_startable(resource: Resource, *, again: bool) -> Workload:
    """Return the workload that a new rollout may be started of, as far as it alone tells.

    Only a DeploymentConfig rolls out `again` what it has. Raises RolloutRefusedError.
    """
    workload = _workload(resource)
    is_config = isinstance(workload, DeploymentConfig)
    if again and not is_config:
        step = _restart(workload)
        raise NoRolloutsError(workload.key, "rollout latest --again", (DeploymentConfig,), step)
    if is_paused(workload):
        paused = "deployment config" if is_config else "deployment"
        raise PausedWorkloadError(workload, f"cannot deploy a paused {paused}")
    records = workload.status.revisions
    if is_config and records and records[0].phase == Phase.PROGRESSING:
        raise InProgressError(records[0].revision)
    return workload


def newest_images(workload: Workload, images: Mapping[Slot, str]) -> Mapping[Slot, str]:
    """Return which of the images of followed tags a rollout by hand sets: none that was promoted.

    Raises RolloutRefusedError where that changes nothing of another kind than DeploymentConfig.
    """
    promoted = promoted_containers(workload)
    wanted = {slot: image for slot, image in images.items() if slot[0] not in promoted}
    if isinstance(workload, DeploymentConfig):
        return wanted
    verdict = find(workload.status.conditions, IMAGE_TRIGGERED)
    if verdict is not None and verdict.reason == Reason.PIPELINE:
        raise NothingToDoError(f"{workload.key}: {verdict.message}; `upwell promote` brings them")
    if not wanted:
        raise NothingToDoError(
            f"{workload.key} follows no tag that has an image; {_restart(workload)}"
        )
    if with_images(workload, wanted) == workload:
        raise NothingToDoError(
            f"{workload.key} has the newest images of the tags that it follows already;"
            f" {_restart(workload)}"
        )
    return wanted


def _restart(workload: Workload) -> str:
    here = f"upwell rollout restart {workload.KIND.singular}/{workload.name}"
    command = f"`{here} -n {workload.namespace}`"
    if is_native(workload):
        command = rollout_command(workload, "restart")
    return f"{command} replaces its instances"


def started(config: DeploymentConfig, now: datetime) -> Workload:
    """Return a DeploymentConfig whose template is rolled out, also when it has been before.

    Its status says at once that something begins: who waits for the end waits for this one.
    """
    records = config.status.revisions
    declared = template_hash(template_of(config))
    newest = max((one.revision for one in records), default=0)
    revision = next_version(records, template_of(config))
    requested = RequestedRevision(template=declared, revision=revision)
    changes = {"requested": requested, "failed_hash": None, "latest_version": newest + 1}
    begun = _with_status(config, changes)
    return _progressing(begun, "True", REVISION_CREATED, "a new revision begins", now)


def progressing_revision(config: DeploymentConfig) -> str | None:
    """Return the hash of the revision that is rolled out now; None: none is."""
    newest = next(iter(config.status.revisions), None)
    return newest.hash if newest is not None and newest.phase == Phase.PROGRESSING else None


def cancelled(resource: Resource, now: datetime, revision: int | None = None) -> Workload:
    """Return a workload whose rollout has ended: what served before serves again.

    `revision`: the one that is meant, if that is said. Raises RolloutRefusedError.
    """
    workload = _meant(_own(resource, "undo"), revision)
    if is_paused(workload):
        raise PausedWorkloadError(workload, "unable to cancel paused deployment")
    records = workload.status.revisions
    if not records or records[0].phase != Phase.PROGRESSING:
        raise NothingToDoError(f"{workload.key}: no rollout is in progress{_newest(workload)}")
    first = records[0]
    message = f"revision {first.revision}{CANCELLED_BY_PERSON}"
    updated = with_record(
        records, first.hash, phase=Phase.FAILED.value, message=message, aborted=True
    )
    good = last_good(updated, besides=first.hash)
    failed = wanted_revision(workload) if good is not None else workload.status.failed_hash
    ended = _with_status(workload, {"revisions": updated, "failed_hash": failed})
    return _progressing(ended, "False", failure_reason(workload, updated[0]), message, now)


def retried(resource: Resource, now: datetime, revision: int | None = None) -> Workload:
    """Return a workload that rolls out once more what has failed, hooks included.

    `revision`: the one that is meant, if that is said. Raises RolloutRefusedError.
    """
    workload = _meant(_own(resource, "restart"), revision)
    if is_paused(workload):
        paused = "deployment config" if isinstance(workload, DeploymentConfig) else "deployment"
        raise PausedWorkloadError(workload, f"unable to retry paused {paused}")
    records = workload.status.revisions
    if not records or records[0].phase != Phase.FAILED:
        raise NothingToDoError(
            f"{workload.key}: only failed deployments can be retried{_newest(workload)};"
            " `rollout latest` starts a new one"
        )
    anew = with_record(
        records,
        records[0].hash,
        phase=Phase.PROGRESSING.value,
        message="",
        aborted=None,
        hooks={},
        created=now,
    )
    begun = _with_status(workload, {"revisions": anew, "failed_hash": None})
    message = f"revision {records[0].revision} is tried again"
    return _progressing(begun, "True", REVISION_UPDATED, message, now)


def require_revision(resource: Resource, number: int | None) -> tuple[Workload, RevisionRecord]:
    """Return a workload and the revision to roll it back to.

    Without `number`, the last one that served in full before the declared one. Raises
    RolloutRefusedError.
    """
    if not isinstance(resource, WORKLOADS):
        raise NoRevisionsError(resource.key)
    _own(resource, "undo")
    if is_paused(resource):
        refusal = (
            "cannot rollback a paused deployment config"
            if isinstance(resource, DeploymentConfig)
            else "you cannot rollback a paused deployment"
        )
        raise PausedWorkloadError(resource, refusal)
    return resource, _chosen(resource, number)


def naming_revision(workload: Workload, record: RevisionRecord) -> Workload:
    """Return the workload with a status that names one of several rollouts of a template.

    The same workload where the template alone says which is meant, and a DeploymentConfig, of
    which a rollback makes a new version.
    """
    if isinstance(workload, DeploymentConfig):
        return workload
    status = workload.status
    if status.requested is None and newest_alike(status.revisions, record.template) == record:
        return workload
    requested = RequestedRevision(template=template_hash(record.template), revision=record.hash)
    return _with_status(workload, {"requested": requested})


def rolled_back(workload: Workload, record: RevisionRecord, now: datetime) -> Workload:
    """Return the workload with the template of a revision, and automation held away from it.

    A DeploymentConfig asks for a new version by that, whatever its triggers are.
    """
    reason = f"{rollback_reason(record)}, {now:%Y-%m-%d %H:%M} UTC"
    annotations = {**without_hold(workload).annotations, HOLD_ANNOTATION: reason}
    if isinstance(workload, DeploymentConfig):
        following = next_version(workload.status.revisions, record.template)
        annotations[ROLL_OUT_ANNOTATION] = following
    return with_pod_template(workload, record.template).with_metadata(annotations=annotations)


def is_rolled_back(old: Resource, new: Resource) -> bool:
    """Return True if `new` goes back to a revision of `old`, its images included.

    So do the clients that write a revision's template themselves, as oc and kubectl: with it they
    write the annotation that holds automation, which names the revision.
    """
    if not isinstance(old, WORKLOADS) or not isinstance(new, WORKLOADS):
        return False
    reason = new.annotations.get(HOLD_ANNOTATION)
    if reason is None or reason == old.annotations.get(HOLD_ANNOTATION):
        return False
    template = template_of(new)
    return any(
        reason.partition(",")[0] == rollback_reason(record)
        and newest_alike((record,), template) is not None
        for record in old.status.revisions
    )


def _workload(resource: Resource) -> Workload:
    if not isinstance(resource, WORKLOADS):
        raise NoRolloutsError(resource.key, "rollout", WORKLOADS, "name one of those")
    return resource


def _own(resource: Resource, verb: str) -> Workload:
    """Return a workload that this server rolls out; `verb` is kubectl's for any other."""
    workload = _workload(resource)
    if is_native(workload):
        raise ClusterRolloutError(workload, rollout_command(workload, verb))
    return workload


def _meant(workload: Workload, revision: int | None) -> Workload:
    """Return the workload; raises RolloutRefusedError if its newest revision is another one."""
    records = workload.status.revisions
    if revision is not None and (not records or records[0].revision != revision):
        raise NothingToDoError(f"{workload.key}: revision {revision} is over{_newest(workload)}")
    return workload


def _progressing(
    workload: Workload, status: str, reason: str, message: str, now: datetime
) -> Workload:
    """Return the workload with this condition; its reconciler says the same, or more, soon."""
    condition = Condition(
        type=PROGRESSING,
        status=status,
        reason=progressing_reason(workload, reason),
        message=message,
        observed_generation=workload.generation,
    )
    conditions = set_condition(workload.status.conditions, condition, now)
    return _with_status(workload, {"conditions": conditions})


def _chosen(workload: Workload, number: int | None) -> RevisionRecord:
    records = workload.status.revisions
    declared = wanted_revision(workload)
    if number is None:
        for record in records:
            if record.phase == Phase.COMPLETE and record.hash != declared:
                return record
        raise RevisionNotFoundError(workload.key, number, records)
    for record in records:
        if record.revision == number:
            if record.hash == declared:
                raise SameRevisionError(workload.key, record)
            return record
    raise RevisionNotFoundError(workload.key, number, records)


def _with_status(workload: Workload, changes: Mapping[str, object]) -> Workload:
    status = workload.status.model_copy(update=dict(changes))
    return workload.with_status(status)


def _newest(workload: Workload) -> str:
    records = workload.status.revisions
    if not records:
        return ": there has been none"
    return f": rollout #{records[0].revision} is {records[0].phase.lower()}"
