"""The revisions of a workload, newest first: what was rolled out, why, and how it went."""

from collections.abc import Mapping
from enum import StrEnum

from upwell.api.apps import DeploymentConfig, RevisionRecord
from upwell.api.pod_template import Container, PodTemplate
from upwell.policy.rollouts.pod_template import repeated_hash, same_meaning, template_hash
from upwell.policy.rollouts.settings import ROLL_OUT_ANNOTATION, Workload, template_of
from upwell.policy.rollouts.triggers import HOLD_ANNOTATION

type Records = tuple[RevisionRecord, ...]

CONFIG_LABEL, REVISION_LABEL = "deploymentconfig", "deployment"
CONFIG_ANNOTATION = "openshift.io/deployment-config.name"
VERSION_ANNOTATION = "openshift.io/deployment-config.latest-version"
PHASE_ANNOTATION = "openshift.io/deployment.phase"
_NAME_ANNOTATION = "openshift.io/deployment.name"


class Phase(StrEnum):
    """Phase of a revision."""

    PROGRESSING = "Progressing"
    COMPLETE = "Complete"
    FAILED = "Failed"


CANCELLED_BY_PERSON = " was cancelled by a person"
"""End of the message of a revision whose rollout somebody has ended."""
_SUPERSEDED_BY = "superseded by revision "
"""Beginning of the message of a revision that another has followed before it was complete."""


class RolloutCause(StrEnum):
    """Cause of a revision's rollout."""

    IMAGE_CHANGE = "image change"
    CONFIG_CHANGE = "config change"
    MANUAL_CHANGE = "manual change"
    ROLLBACK = "rollback"


def wanted_revision(workload: Workload) -> str:
    """Return what the declared template is called: its hash, or what a person's request says.

    A revision of the same meaning keeps the name under which it was recorded, as its instances have
    that in their labels: earlier versions counted defaults that were written out. A
    DeploymentConfig's stays what it was: a template that comes back is a new version of it.
    """
    if isinstance(workload, DeploymentConfig):
        return _wanted_version(workload)
    template, requested = template_of(workload), workload.status.requested
    declared = template_hash(template)
    if requested is not None and requested.template == declared:
        return requested.revision
    known = _newest_called(workload.status.revisions, declared)
    if known is None:
        return declared
    if requested is not None and known.hash in {requested.template, requested.revision}:
        return requested.revision
    return known.hash


def _wanted_version(config: DeploymentConfig) -> str:
    """Return what the next version of a DeploymentConfig is called, or the newest that is wanted.

    Whoever asks for a version names the next one, so that it is asked for once.
    """
    template, records = template_of(config), config.status.revisions
    following = next_version(records, template)
    if config.annotations.get(ROLL_OUT_ANNOTATION) == following:
        return following
    known, requested = newest_alike(records, template), config.status.requested
    if requested is not None and known is not None:
        pending = repeated_hash(requested.template, _newest_number(records) + 1)
        if requested.revision == pending and requested.template in {
            known.hash,
            template_hash(template),
        }:
            return pending
    return known.hash if known is not None and known is records[0] else following


def next_version(records: Records, template: PodTemplate) -> str:
    """Return what a further version with this template is called, whether it is new or not."""
    declared = template_hash(template)
    if newest_alike(records, template) is None:
        return declared
    return repeated_hash(declared, _newest_number(records) + 1)


def _newest_number(records: Records) -> int:
    return max((record.revision for record in records), default=0)


def known_before(workload: Workload, wanted: str) -> RevisionRecord | None:
    """Return the record of the wanted revision, or of that to which it goes back.

    Of several with the same template it is the one that a rollback names. One that `rollout
    latest` asks for goes back to nothing.
    """
    records = workload.status.revisions
    known = find(records, wanted)
    if known is not None or not isinstance(workload, DeploymentConfig):
        return known
    template = template_of(workload)
    if workload.annotations.get(ROLL_OUT_ANNOTATION) == wanted:
        reason = workload.annotations.get(HOLD_ANNOTATION, "").partition(",")[0]
        for record in records:
            if reason == rollback_reason(record) and newest_alike((record,), template):
                return record
    elif is_requested(workload, wanted):
        return None
    return newest_alike(records, template)


def rollback_reason(record: RevisionRecord) -> str:
    """Return why automation is held after a rollback: the beginning of the annotation's value."""
    return f"rolled back to revision {record.revision} by hand"


def newest_alike(records: Records, template: PodTemplate) -> RevisionRecord | None:
    """Return the newest revision whose template means the same."""
    return _newest_called(records, template_hash(template))


def _newest_called(records: Records, declared: str) -> RevisionRecord | None:
    """Return the newest revision whose template has this hash, whatever the revision is called."""
    alike = (
        one
        for one in records
        # Most often it is called so: then no template of the history has to be hashed.
        if one.hash == declared or template_hash(one.template) == declared
    )
    return next(alike, None)


def is_requested(workload: Workload, revision: str) -> bool:
    """Return True if a person has asked for exactly this revision."""
    requested = workload.status.requested
    return requested is not None and requested.revision == revision


def find(records: Records, revision: str) -> RevisionRecord | None:
    """Return the record of a template hash."""
    return next((record for record in records if record.hash == revision), None)


def last_good(records: Records, *, besides: str = "") -> RevisionRecord | None:
    """Return the newest revision that has served in full."""
    return next(
        (one for one in records if one.phase == Phase.COMPLETE and one.hash != besides), None
    )


def has_run(records: Records, digest: str) -> bool:
    """Return True if an instance that took traffic ran an image: so its registry gave it to us.

    What a revision only names counts for nothing: anybody may name a digest.
    """
    lived = (record for record in records if record.live_at is not None)
    return any(image.endswith(f"@{digest}") for one in lived for image in one.images.values())


def image_before(records: Records, now: RevisionRecord, container: str) -> tuple[int, str] | None:
    """Return the last revision that lived before `now` with another image, and this."""
    for record in records:
        image = record.images.get(container)
        earlier = record.revision < now.revision and record.live_at is not None
        if earlier and image and image != now.images.get(container):
            return record.revision, image
    return None


def is_cancelled(record: RevisionRecord) -> bool:
    """Return True if a person has ended the rollout."""
    return record.phase == Phase.FAILED and record.message.endswith(CANCELLED_BY_PERSON)


def is_superseded(record: RevisionRecord) -> bool:
    """Return True if another revision has followed before the rollout was complete."""
    return record.phase == Phase.FAILED and record.message.startswith(_SUPERSEDED_BY)


def begin(records: Records, new: RevisionRecord) -> Records:
    """Return the history with a rollout of `new` begun; what was under way is superseded.

    A revision that was rolled out before moves to the front under a new number, as a ReplicaSet
    of Kubernetes does. The one that still is the last good one stays that: going back to it can
    be relied on. What a DeploymentConfig goes back to is a revision with a name of its own.
    """
    good = last_good(records)
    known_good = good is not None and good.hash == new.hash
    number = _newest_number(records) + 1
    first = new.model_copy(
        update={
            "revision": number,
            "phase": (Phase.COMPLETE if known_good else Phase.PROGRESSING).value,
            "live_at": good.live_at if known_good and good is not None else None,
        }
    )
    others = tuple(
        one.model_copy(update={"phase": Phase.FAILED.value, "message": f"{_SUPERSEDED_BY}{number}"})
        if one.phase == Phase.PROGRESSING
        else one
        for one in records
        if one.hash != new.hash
    )
    return (first, *others)


def with_record(records: Records, revision: str, **changes: object) -> Records:
    """Return the history with fields of one record changed."""
    return tuple(one.model_copy(update=changes) if one.hash == revision else one for one in records)


def prune(records: Records, limit: int) -> Records:
    """Keep the newest record, `limit` older ones, and the last good one whatever its age."""
    good = last_good(records)
    return tuple(one for at, one in enumerate(records) if at <= limit or one is good)


def cause_of(
    records: Records, template: PodTemplate, *, undone: bool, images_only: bool = False
) -> RolloutCause:
    """Return why `template` is rolled out after `records`; `undone` by a person's `undo`.

    `images_only`: nothing but an image starts rollouts, so the first is one too.
    """
    if not records:
        return RolloutCause.IMAGE_CHANGE if images_only else RolloutCause.CONFIG_CHANGE
    if undone:
        return RolloutCause.ROLLBACK
    before = records[0].template
    if before != template and same_meaning(_without_images(before), _without_images(template)):
        return RolloutCause.IMAGE_CHANGE
    return RolloutCause.CONFIG_CHANGE


def images_of(template: PodTemplate) -> dict[str, str]:
    """Return container name -> image as the template has it."""
    return {container.name: container.image for container in template.spec.containers}


def with_pinned_images(template: PodTemplate, images: Mapping[str, str]) -> PodTemplate:
    """Return `template` with the images that a record has pinned."""

    def pin(container: Container) -> Container:
        image = images.get(container.name, container.image)
        return container.model_copy(update={"image": image})

    pod = template.spec.model_copy(
        update={
            "containers": tuple(pin(one) for one in template.spec.containers),
            "init_containers": tuple(pin(one) for one in template.spec.init_containers),
        }
    )
    return template.model_copy(update={"spec": pod})


def _without_images(template: PodTemplate) -> PodTemplate:
    pod = template.spec
    blank = {
        "containers": tuple(one.model_copy(update={"image": ""}) for one in pod.containers),
        "init_containers": tuple(
            one.model_copy(update={"image": ""}) for one in pod.init_containers
        ),
    }
    return template.model_copy(update={"spec": pod.model_copy(update=blank)})


def controller_name(config: str, revision: int) -> str:
    """Return the name of the ReplicationController of a DeploymentConfig's revision."""
    return f"{config}-{revision}"


def revision_labels(config: str, revision: int) -> dict[str, str]:
    """Return the labels that OpenShift gives the Pods of a revision, beside the template's."""
    return {CONFIG_LABEL: config, REVISION_LABEL: controller_name(config, revision)}


def revision_annotations(config: str, revision: int) -> dict[str, str]:
    """Return the annotations that OpenShift gives the Pods of a revision."""
    return {
        CONFIG_ANNOTATION: config,
        _NAME_ANNOTATION: controller_name(config, revision),
        VERSION_ANNOTATION: str(revision),
    }


def revision_template(config: str, record: RevisionRecord) -> PodTemplate:
    """Return the template of a revision's Pods, with what OpenShift adds to it."""
    metadata = record.template.metadata
    labels = {**metadata.labels, **revision_labels(config, record.revision)}
    annotations = {**metadata.annotations, **revision_annotations(config, record.revision)}
    named = metadata.model_copy(update={"labels": labels, "annotations": annotations})
    return record.template.model_copy(update={"metadata": named})
