"""Decision about the images of a workload on a cluster: set them, put the last good ones back."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from upwell.api.meta import Resource
from upwell.policy.cluster_rollouts.field_owners import OWN, owned_text, owners_of, ownership
from upwell.policy.cluster_rollouts.last_write import last_write
from upwell.policy.cluster_rollouts.note import (
    NOTE_ANNOTATION,
    NOTE_PATH,
    FailedImage,
    RolloutNote,
    failures_text,
    hash_without_images,
    listed_images,
)
from upwell.policy.cluster_rollouts.observation import (
    NativeWorkload,
    RolloutObservation,
    keeps_completion,
    last_success,
)
from upwell.policy.rollouts.image_ownership import (
    PROMOTED_ANNOTATION,
    declared_images,
    promoted_containers,
)
from upwell.policy.rollouts.summary import RolloutState
from upwell.policy.rollouts.triggers import (
    HOLD_ANNOTATION,
    Reason,
    Slot,
    TriggerVerdict,
    hold_text,
)

HELD_BACK, FAILED_BEFORE, TAKEN, CHANGED = (
    "Held",
    "FailedBefore",
    "FieldConflict",
    "ChangedAtAdmission",
)
_FAULTS = frozenset(
    {
        Reason.INVALID_TRIGGER,
        Reason.STREAM_NOT_FOUND,
        Reason.TAG_NOT_FOUND,
        Reason.WAVE_STOPPED,
        Reason.MISSING_RIGHT,
        Reason.IMAGE_REFUSED,
        Reason.IMAGE_NOT_JUDGED,
    }
)
"""Reasons that are no wish of anybody's."""


@dataclass(frozen=True, slots=True)
class RolloutStep:
    """Write that is due now, if any, and what is told of the workload."""

    reason: str = ""
    """Of the Event; empty: nothing is told."""
    message: str = ""
    is_warning: bool = False
    images: Mapping[Slot, str] = field(default_factory=dict)
    """Every image that Upwell owns after the write."""
    note: RolloutNote | None = None
    """None: nothing is written."""
    take_over: bool = False
    promoted: str = ""
    """Value of the annotation that says which Release the images are of; empty: of none."""

    @property
    def annotations(self) -> Mapping[str, str]:
        """Every annotation that Upwell owns after the write."""
        note = {} if self.note is None else {NOTE_ANNOTATION: self.note.format()}
        return note | ({PROMOTED_ANNOTATION: self.promoted} if self.promoted else {})


def put_back(
    workload: NativeWorkload, note: RolloutNote, observed: RolloutObservation, now: datetime
) -> RolloutStep | None:
    """Return how a rollout that failed is undone; None if it has not, or nothing can be."""
    if observed.state is not RolloutState.FAILED:
        return None
    present = _present(workload, note)
    back = {slot: note.good[slot[0]] for slot in present if slot[0] in note.good}
    changes = {slot: image for slot, image in back.items() if present[slot] != image}
    if not changes:
        return None
    failed = {slot[0]: note.images[slot[0]] for slot in changes}
    told = f"{listed_images(failed)} failed: {observed.message}"
    if HOLD_ANNOTATION in workload.annotations:
        why = f"{told}; it stays, as the workload is held: {hold_text(workload)}"
        return RolloutStep(HELD_BACK, why, is_warning=True)
    if not _is_ours(workload, changes) or note.template != hash_without_images(workload):
        return None  # what failed is not, or not only, what was set here
    images = {**present, **back}
    undone = RolloutNote(
        {slot[0]: image for slot, image in images.items()},
        note.good,
        failed,
        observed.message,
        now,
        note.template,
        promotion=note.promotion,
        earlier=note.earlier_than(failed),
        last_success=last_success(workload),
        changed=tuple(slot[0] for slot in changes),
    )
    return RolloutStep(*_event(undone), images=images, note=undone, promoted=_mark(workload))


def set_images(
    workload: NativeWorkload,
    note: RolloutNote,
    observed: RolloutObservation,
    verdict: TriggerVerdict,
    now: datetime,
    *,
    staged: bool = False,
) -> RolloutStep:
    """Return how the images of a verdict are written, or why they are not.

    With `staged`, a stage of a Pipeline sets them, and no trigger does.
    """
    wanted, failed, changed = _sorted_out(workload, note, verdict.images)
    if not wanted:
        if failed:
            return RolloutStep(FAILED_BEFORE, failures_text(workload, failed), is_warning=True)
        if changed:
            text = f"admission changed {listed_images(changed)}; it is left so"
            return RolloutStep(CHANGED, text, is_warning=True)
        return RolloutStep(*_of_verdict(verdict))
    owned = ownership(workload, wanted, set_before=bool(note.images), staged=staged)
    if owned.taken_by:
        slot, manager = next(iter(owned.taken_by.items()))
        pending = f"; pending: {listed_images({one[0]: image for one, image in wanted.items()})}"
        text = owned_text(slot, manager, staged=staged) + pending
        return RolloutStep(TAKEN, text, is_warning=True)
    images = {**_present(workload, note), **wanted}
    before = declared_images(workload, images)
    good = note.good
    if not note.images or observed.state is RolloutState.COMPLETE:
        good = {slot[0]: image for slot, image in before.items() if image.strip()}
    replaced = {slot[0] for slot in wanted}
    failed_last = {name: image for name, image in note.failed.items() if name not in replaced}
    after = RolloutNote(
        {slot[0]: image for slot, image in images.items()},
        good,
        failed_last,
        note.why if failed_last else "",
        since=now,
        template=hash_without_images(workload),
        promotion=note.promotion if staged else "",
        earlier=note.earlier_than(failed_last),
        last_success=last_success(workload),
        changed=tuple(slot[0] for slot in wanted),
    )
    mark = _mark(workload) if staged else ""
    others_wrote_note = owners_of(workload, NOTE_PATH) - {OWN}
    take_over = owned.takes_over or bool(others_wrote_note)
    return RolloutStep(
        *_event(after), images=images, note=after, take_over=take_over, promoted=mark
    )


def restored(workload: NativeWorkload, note: RolloutNote) -> Mapping[Slot, str]:
    """Return images of a promotion that the workload has lost since; none while it is held."""
    containers = promoted_containers(workload)
    if HOLD_ANNOTATION in workload.annotations or not note.promotion:
        return {}
    present = _present(workload, note)
    wanted = {slot: note.images[slot[0]] for slot in present if slot[0] in containers}
    return {slot: image for slot, image in wanted.items() if present[slot] != image}


def completed(
    workload: NativeWorkload, note: RolloutNote, observed: RolloutObservation
) -> RolloutStep | None:
    """Return how it is remembered that a rollout is complete, where the status forgets it."""
    over = note.complete or not note.images or observed.state is not RolloutState.COMPLETE
    present = _present(workload, note)
    if over or keeps_completion(workload) or not present:
        return None
    if not _is_ours(workload, present):
        return None
    return RolloutStep(images=present, note=replace(note, complete=True), promoted=_mark(workload))


def _event(note: RolloutNote) -> tuple[str, str, bool]:
    """Return reason and message of the Event about the write that makes a note."""
    found = last_write(note)
    return (found.reason, found.message, found.is_warning) if found else ("", "", False)


def _mark(workload: Resource) -> str:
    return workload.annotations.get(PROMOTED_ANNOTATION, "")


def _present(workload: Resource, note: RolloutNote) -> dict[Slot, str]:
    """Return the images, as the template has them, of the containers that Upwell has set."""
    slots = [(name, init) for name in note.images for init in (False, True)]
    return {slot: one for slot, one in declared_images(workload, slots).items() if one}


def _sorted_out(
    workload: Resource, note: RolloutNote, images: Mapping[Slot, str]
) -> tuple[dict[Slot, str], list[FailedImage], dict[str, str]]:
    """Return what is to be set, what failed before, and what admission changed when it was set."""
    named = {(slot[0], one) for slot, one in images.items()}
    failed = [one for one in note.failures if (one.container, one.image) in named]
    barred = {one.container for one in failed}
    rest = {slot: one for slot, one in images.items() if slot[0] not in barred}
    asked = {slot: one for slot, one in rest.items() if note.images.get(slot[0]) == one}
    kept = {slot for slot in asked if _is_ours(workload, (slot,))}
    declared = declared_images(workload, kept)
    changed = {slot[0]: f"{rest[slot]} to {image}" for slot, image in declared.items()}
    return {slot: one for slot, one in rest.items() if slot not in kept}, failed, changed


def _is_ours(workload: Resource, slots: Iterable[Slot]) -> bool:
    """Return True if nobody else has set any of these images since."""
    owned = ownership(workload, slots, set_before=True)
    return not owned.taken_by and not owned.handed_over


def _of_verdict(verdict: TriggerVerdict) -> tuple[str, str, bool]:
    """Return what is told of triggers that set nothing: nothing, where all have their images."""
    if verdict.resolved:
        return "", "", False
    return verdict.reason.value, verdict.message, verdict.reason in _FAULTS
