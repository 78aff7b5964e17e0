"""The snapshot of a workload that a rollout is decided by: declared, rolled out, running."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from upwell.api.apps import RevisionRecord
from upwell.policy.rollouts.history import (
    Phase,
    Records,
    RolloutCause,
    cause_of,
    is_requested,
    known_before,
    last_good,
)
from upwell.policy.rollouts.hooks import hooks_of, last_end, pending
from upwell.policy.rollouts.pod_template import TemplateError
from upwell.policy.rollouts.rollout import Rollout, RolloutTarget, Settings
from upwell.policy.rollouts.settings import (
    ROLL_OUT_ANNOTATION,
    Workload,
    follows_changes,
    is_manual,
    is_test,
    settings_of,
    template_of,
)
from upwell.policy.rollouts.starts.exclusive_use import exclusive_use, one_at_a_time
from upwell.policy.rollouts.summary import ROLLOUT_PAUSED
from upwell.policy.rollouts.target import Chosen, TargetReason
from upwell.policy.rollouts.triggers import HOLD_ANNOTATION, hold_text, unresolved
from upwell.workload.interface import Instance

PULLING = "ImagePulling"
"""Reason of the obstacle that passes by itself, when the image is there."""
DEPENDENCIES = "WaitingForDependencies"
"""Reason of the obstacle that passes by itself, when others run, or have not for too long."""
HELD = "HeldForTakeover"
"""Reason of the obstacle that passes when a container has stopped whose place a workload takes."""
PASSING = frozenset({PULLING, DEPENDENCIES, HELD})
"""Reasons of obstacles that pass by themselves."""


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Obstacle to a rollout of the declared template, or to the start of an instance."""

    reason: str
    message: str
    status: str = "False"
    """Of the condition Progressing."""
    error: Exception | None = None
    """Error to be tried again, since no object's change will announce its end."""
    hurried: bool = False
    """True for a rollout that was to begin: it has failed when it has not by its deadline."""
    is_image: bool = False
    """True where an image cannot be had: its registry refuses it, does not have it, is away."""


@dataclass(frozen=True, slots=True)
class RolloutSnapshot:
    """State of a workload's rollout that its status shows."""

    settings: Settings
    wanted: str
    """Hash of the declared template."""
    chosen: Chosen
    records: Records
    failed_hash: str | None
    instances: Sequence[Instance]
    obstacle: Obstacle | None = None


def new_record(
    workload: Workload, wanted: str, images: Mapping[str, str], now: datetime
) -> RevisionRecord:
    """Return the record of a revision that begins; `images` are those of its containers."""
    template = template_of(workload)
    undone = HOLD_ANNOTATION in workload.annotations and known_before(workload, wanted) is not None
    cause = cause_of(
        workload.status.revisions,
        template,
        undone=undone,
        images_only=not follows_changes(workload),
    )
    by_hand = is_manual(workload) or is_requested(workload, wanted)
    return RevisionRecord(
        revision=0,
        hash=wanted,
        template=template,
        created=now,
        cause=(RolloutCause.MANUAL_CHANGE if by_hand and not undone else cause).value,
        images=dict(images),
    )


def rollout_for(workload: Workload, snapshot: RolloutSnapshot, record: RevisionRecord) -> Rollout:
    """Return what the rollout policy has to know to bring `record` about."""
    complete = record.phase == Phase.COMPLETE
    good = record if complete else last_good(snapshot.records)
    settings = one_at_a_time(snapshot.settings, exclusive_use(workload, snapshot.instances))
    if complete and is_test(workload):
        settings = replace(settings, replicas=0)
    return Rollout(
        settings,
        RolloutTarget(
            record.hash,
            record.created,
            complete,
            hooks=frozenset() if complete else pending(workload, record),
            hooks_ended=last_end(record),
            aborted=bool(record.aborted) and good is None,
            probation=_probation(workload, snapshot, record) if complete else None,
        ),
        good.hash if good else None,
    )


def _probation(
    workload: Workload, snapshot: RolloutSnapshot, record: RevisionRecord
) -> datetime | None:
    """Return until when a revision that is complete may still be rolled back.

    Never that of a rollback, lest two revisions take turns, and none that a person holds or that
    is in force because the declared one may not begin.
    """
    if (
        record.completed_at is None
        or snapshot.chosen.choice is not TargetReason.DECLARED
        or record.cause == RolloutCause.ROLLBACK
        or hold_text(workload)
        or snapshot.settings.paused
        or last_good(snapshot.records, besides=record.hash) is None
    ):
        return None
    return record.completed_at + snapshot.settings.deadline


def settings_in_force(workload: Workload, wanted: str) -> tuple[Settings, Obstacle | None]:
    """Return how to roll out, and what speaks against beginning anything new."""
    try:
        settings = settings_of(workload)
    except TemplateError as error:
        replicas = getattr(workload.spec, "replicas", None)
        fallback = Settings(replicas=1 if replicas is None else replicas)
        return fallback, Obstacle(error.reason, str(error))
    if settings.paused:
        why = "spec.paused is set: the template is not rolled out until it is false"
        return settings, Obstacle(ROLLOUT_PAUSED, why, "Unknown")
    # What has run before was resolved then, and its record has the digests.
    known = known_before(workload, wanted)
    waiting = unresolved(workload) if known is None else None
    if waiting is not None:
        return settings, Obstacle("ImageNotResolved", waiting)
    try:
        hooks_of(workload)
    except TemplateError as error:
        return settings, Obstacle(error.reason, str(error))
    return settings, _not_triggered(workload, wanted)


def _not_triggered(workload: Workload, wanted: str) -> Obstacle | None:
    """Say why a new template is not rolled out by itself, if it is not."""
    asked = workload.annotations.get(ROLL_OUT_ANNOTATION) == wanted
    if asked or is_requested(workload, wanted) or follows_changes(workload):
        return None
    how = f"annotation {ROLL_OUT_ANNOTATION}={wanted}"
    if is_manual(workload):
        why = f"spec.triggers is empty: a rollout is started by `rollout latest`, or by {how}"
        return Obstacle("ManualOnly", why, "Unknown")
    records = workload.status.revisions
    before = {one.image for one in records[0].template.spec.containers} if records else set()
    if {one.image for one in template_of(workload).spec.containers} - before:
        return None  # an image change: that is what the other trigger is for
    why = f"there is no ConfigChange trigger: `rollout latest` starts a rollout, or {how}"
    return Obstacle("ManualOnly", why, "Unknown")
