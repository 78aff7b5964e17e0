"""Revisions of native workloads: what a cluster does not record, told by the note and the status.

All that follows rollouts reads the records of `status.revisions`, which this Upwell writes where it
rolls out itself. Of a native workload they follow from what was set there, and from how that goes.
"""

from collections.abc import Iterable
from datetime import UTC, datetime

from upwell.api.apps import DaemonSet, Deployment, RevisionRecord, StatefulSet
from upwell.api.conditions import DEGRADED
from upwell.api.meta import Condition
from upwell.cluster.interface import PodRecord
from upwell.policy.cluster_rollouts.note import RolloutNote
from upwell.policy.cluster_rollouts.observation import RolloutObservation, observe, stays_up
from upwell.policy.rollouts.degradation import DegradedReason
from upwell.policy.rollouts.history import Phase, RolloutCause
from upwell.policy.rollouts.settings import Workload, template_of
from upwell.policy.rollouts.summary import RolloutState, desired_replicas
from upwell.policy.rollouts.triggers import IMAGE_TRIGGERED, TriggerVerdict

type _Native = Deployment | StatefulSet | DaemonSet

BEFORE_DEADLINES = datetime.min.replace(tzinfo=UTC)
"""Moment at which no rollout has taken too long yet."""
_PHASES = {
    RolloutState.COMPLETE: Phase.COMPLETE,
    RolloutState.PROGRESSING: Phase.PROGRESSING,
    RolloutState.FAILED: Phase.FAILED,
}


def with_revisions(
    workload: Workload,
    pods: Iterable[PodRecord],
    now: datetime,
    kept_back: TriggerVerdict | None = None,
) -> Workload:
    """Return a native workload with the records of its last two revisions in its status.

    Its counts and conditions are those that Upwell's own rollouts would have. `pods` are its own;
    without them, what crashes is seen once its rollout is judged. `kept_back` is what a gate says
    of it. What is no native workload is returned as it is.
    """
    if not isinstance(workload, Deployment | StatefulSet | DaemonSet):
        return workload
    note, pods = RolloutNote.of(workload), tuple(pods)
    if _was_put_back(note):
        records = _put_back(workload, note)
        running = observe(workload, pods, note, now)
    else:
        running = observe(workload, pods, _current(workload, note), now)
        records = _set(workload, note, running)
    conditions: tuple[Condition, ...] = ()
    wanted = desired_replicas(workload)
    ready = 0
    if running.state is RolloutState.COMPLETE:
        health = stays_up(workload, pods)
        ready = wanted if health.state is RolloutState.COMPLETE else max(wanted - 1, 0)
        if health.state is RolloutState.FAILED:
            conditions += (_crashes(health),)
    if kept_back is not None:
        conditions += (_waits(workload, kept_back),)
    changes = {
        "revisions": records,
        "updated_replicas": wanted if running.state is RolloutState.COMPLETE else 0,
        "ready_replicas": ready,
        "conditions": conditions,
    }
    return workload.with_status(workload.status.model_copy(update=changes))


def _was_put_back(note: RolloutNote) -> bool:
    """Return True if what was set last are the images from before, as those after them failed."""
    differing = [one for one, image in note.images.items() if note.good.get(one, image) != image]
    return bool(note.failed) and not differing


def _current(workload: _Native, note: RolloutNote) -> RolloutNote:
    """Return the note if it is about the images that the template has; else an empty one."""
    images = _images(workload)
    same = all(
        images[name] == image or _digest(images[name]) == _digest(image) != ""
        for name, image in note.images.items()
        if name in images
    )
    return note if same else RolloutNote()


def _set(
    workload: _Native, note: RolloutNote, observed: RolloutObservation
) -> tuple[RevisionRecord, ...]:
    """Return the revision that the template is, and the one before it, if that is known."""
    is_ours = bool(_current(workload, note).images)
    by_trigger = is_ours and not note.promotion
    newest = _record(
        workload,
        2,
        _images(workload),
        (note.since if is_ours else None) or _since(workload),
        _PHASES[observed.state],
        observed.message,
        RolloutCause.IMAGE_CHANGE if by_trigger else RolloutCause.CONFIG_CHANGE,
    )
    return (newest, *([_good(workload, note)] if note.good else []))


def _put_back(workload: _Native, note: RolloutNote) -> tuple[RevisionRecord, ...]:
    failed = _record(
        workload,
        2,
        {**_images(workload), **note.failed},
        note.since or _since(workload),
        Phase.FAILED,
        note.why,
        RolloutCause.CONFIG_CHANGE if note.promotion else RolloutCause.IMAGE_CHANGE,
    )
    return (failed, _good(workload, note))


def _good(workload: _Native, note: RolloutNote) -> RevisionRecord:
    images = {**_images(workload), **note.good}
    since, cause = _since(workload), RolloutCause.CONFIG_CHANGE
    return _record(workload, 1, images, since, Phase.COMPLETE, "", cause)


def _record(
    workload: _Native,
    number: int,
    images: dict[str, str],
    created: datetime,
    phase: Phase,
    message: str,
    cause: RolloutCause,
) -> RevisionRecord:
    return RevisionRecord(
        revision=number,
        hash=str(number),
        template=template_of(workload),
        created=created,
        phase=phase,
        message=message,
        cause=cause,
        images=images,
    )


def _digest(image: str) -> str:
    return image.partition("@")[2]


def _images(workload: _Native) -> dict[str, str]:
    pod = template_of(workload).spec
    return {one.name: one.image for one in (*pod.init_containers, *pod.containers)}


def _since(workload: _Native) -> datetime:
    return workload.metadata.creation_timestamp or BEFORE_DEADLINES


def _crashes(health: RolloutObservation) -> Condition:
    return Condition(
        type=DEGRADED, status="True", reason=DegradedReason.CRASH_LOOP, message=health.message
    )


def _waits(workload: _Native, verdict: TriggerVerdict) -> Condition:
    return Condition(
        type=IMAGE_TRIGGERED,
        status="False",
        reason=verdict.reason,
        message=verdict.message,
        observed_generation=workload.generation,
    )
