"""How a workload stands: what is declared, what has been rolled out, what runs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from upwell.api.apps import RevisionRecord
from upwell.policy.rollouts.history import (
    Phase,
    Records,
    RolloutCause,
    begin,
    cause_of,
    find,
    is_requested,
    last_good,
    prune,
    wanted_revision,
)
from upwell.policy.rollouts.hooks import hooks_of, last_end, pending
from upwell.policy.rollouts.pod_template import TemplateError
from upwell.policy.rollouts.settings import (
    ROLL_OUT_ANNOTATION,
    Workload,
    follows_changes,
    history_limit,
    is_manual,
    is_test,
    settings_of,
    template_of,
)
from upwell.policy.rollouts.steps import Rollout, RolloutTarget, Settings
from upwell.policy.rollouts.target import Chosen, TargetReason, choose
from upwell.policy.rollouts.triggers import HOLD_ANNOTATION, unresolved
from upwell.reconcilers.rollouts.images import TemplateImages
from upwell.reconcilers.rollouts.instance import build
from upwell.reconcilers.rollouts.loading import Revisions
from upwell.registry.errors import RegistryError
from upwell.workload.interface import Instance


@dataclass(frozen=True, slots=True)
class Obstacle:
    """What keeps the declared template from being rolled out, or an instance from starting."""

    reason: str
    message: str
    status: str = "False"
    """Of the condition Progressing."""
    error: RegistryError | None = None
    """What has to be tried again, since no object's change will tell."""


@dataclass(frozen=True, slots=True)
class RolloutSnapshot:
    """All that the status says."""

    settings: Settings
    wanted: str
    """Hash of the declared template."""
    chosen: Chosen
    records: Records
    failed_hash: str | None
    instances: Sequence[Instance]
    obstacle: Obstacle | None = None


class StandingReader:
    """Reads how workloads stand, and chooses which of their revisions shall serve."""

    def __init__(
        self, images: TemplateImages, revisions: Revisions, clock: Callable[[], datetime]
    ) -> None:
        self._images = images
        self._revisions = revisions
        self._clock = clock

    async def read(self, workload: Workload, instances: Sequence[Instance]) -> RolloutSnapshot:
        """Return what is, and what shall be; a new revision is already in the records."""
        wanted = wanted_revision(workload)
        records = workload.status.revisions
        failed = workload.status.failed_hash
        if failed != wanted:
            failed = None  # the template has changed: it may be tried again some day
        settings, obstacle = _settings(workload, wanted)
        chosen = choose(records, wanted, failed, may_begin=obstacle is None)
        if chosen.choice is TargetReason.BEGIN:
            try:
                new = await self._new_revision(workload, wanted)
            except (TemplateError, RegistryError) as error:
                again = error if isinstance(error, RegistryError) else None
                obstacle = Obstacle(error.reason, str(error), error=again)
                chosen = choose(records, wanted, failed, may_begin=False)
            else:
                records = prune(begin(records, new), history_limit(workload))
        elif chosen.choice is not TargetReason.KEPT:
            obstacle = None
        return RolloutSnapshot(settings, wanted, chosen, records, failed, instances, obstacle)

    async def _new_revision(self, workload: Workload, wanted: str) -> RevisionRecord:
        """Return the revision to begin; raises TemplateError or RegistryError if it cannot run."""
        template = template_of(workload)
        records = workload.status.revisions
        known = find(records, wanted)
        images = known.images if known else await self._images.pin(template, workload.namespace)
        undone = HOLD_ANNOTATION in workload.annotations and known is not None
        cause = cause_of(
            records, template, undone=undone, images_only=not follows_changes(workload)
        )
        by_hand = is_manual(workload) or is_requested(workload, wanted)
        record = RevisionRecord(
            revision=0,
            hash=wanted,
            template=template,
            created=self._clock(),
            cause=(RolloutCause.MANUAL_CHANGE if by_hand and not undone else cause).value,
            images=images,
        )
        build(await self._revisions.load(workload, record), 0)
        return record


def rollout_of(workload: Workload, standing: RolloutSnapshot, record: RevisionRecord) -> Rollout:
    """Return what the rollout policy has to know to bring `record` about."""
    complete = record.phase == Phase.COMPLETE
    good = record if complete else last_good(standing.records)
    settings = standing.settings
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
        ),
        good.hash if good else None,
    )


def _settings(workload: Workload, wanted: str) -> tuple[Settings, Obstacle | None]:
    """Return how to roll out, and what speaks against beginning anything new."""
    try:
        settings = settings_of(workload)
    except TemplateError as error:
        replicas = getattr(workload.spec, "replicas", None)
        fallback = Settings(replicas=1 if replicas is None else replicas)
        return fallback, Obstacle(error.reason, str(error))
    if settings.paused:
        why = "spec.paused is set: the template is not rolled out until it is false"
        return settings, Obstacle("DeploymentPaused", why, "Unknown")
    # What has run before was resolved then, and its record has the digests.
    known = find(workload.status.revisions, wanted)
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
