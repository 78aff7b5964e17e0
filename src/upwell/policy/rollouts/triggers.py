"""Image change triggers of workloads: which image each container should have, and why not.

The annotation `image.openshift.io/triggers` and a DeploymentConfig's triggers become one shape.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum

from upwell.api.apps import TRIGGERS_ANNOTATION, DeploymentConfig
from upwell.api.conditions import find
from upwell.api.image import ImageStream
from upwell.api.meta import Resource, parse_time
from upwell.api.pod_template import Container, PodSpec
from upwell.policy.images.streams import StreamName, StreamTag, resolve_tag
from upwell.policy.rollouts import trigger_annotation
from upwell.policy.rollouts.commands import (
    goes_at_once,
    is_native,
    resumes,
    updated_from_now_on,
    without_annotation,
)
from upwell.policy.rollouts.image_ownership import is_pinned, pod_template
from upwell.policy.rollouts.settings import is_paused, with_pod_template
from upwell.policy.signatures.wording import NOT_CHECKED, NOT_SATISFIED

HOLD_ANNOTATION = "upwell.dev/hold"
"""Present while a person's decision keeps automation away; its value says why."""
HOLD_UNTIL_ANNOTATION = "upwell.dev/hold-until"
"""Time at which the hold ends by itself (RFC 3339); absent, it ends when a person lifts it."""

IMAGE_TRIGGERED = "ImageTriggered"
"""Type of the condition that says which images the triggers have set, and why not."""

type Slot = tuple[str, bool]
"""A container's name, and whether it is an init container."""


class Mode(StrEnum):
    """Mode of a trigger: it acts, or waits for a person."""

    AUTOMATIC = "automatic"
    MANUAL = "manual"
    PAUSED = "paused"


@dataclass(frozen=True, slots=True)
class ImageFollower:
    """A container whose image follows a tag."""

    slot: Slot
    tag: StreamTag
    mode: Mode = Mode.AUTOMATIC

    @property
    def stream(self) -> StreamName:
        """The stream that has the tag."""
        return self.tag.stream_name

    @property
    def source(self) -> str:
        """The tag, for people."""
        return f"ImageStreamTag {self.tag}"


@dataclass(frozen=True, slots=True)
class Followers:
    """The triggers of a workload, and what about them cannot be understood."""

    entries: Sequence[ImageFollower] = ()
    faults: Sequence[str] = ()

    def automatic(self) -> list[ImageFollower]:
        """Return the triggers that act by themselves."""
        return [entry for entry in self.entries if entry.mode is Mode.AUTOMATIC]


class Reason(StrEnum):
    """Reason of the condition `ImageTriggered`: why images were or were not set."""

    RESOLVED = "Resolved"
    TAG_NOT_FOUND = "TagNotFound"
    STREAM_NOT_FOUND = "StreamNotFound"
    HELD = "Held"
    PAUSED = "Paused"
    INVALID_TRIGGER = "InvalidTrigger"
    PIPELINE = "Pipeline"
    """A stage of a Pipeline sets the images instead."""
    WAVE_CANARY = "WaveCanary"
    """Other workloads go first."""
    WAVE_STOPPED = "WaveStopped"
    """Too much failed on the base image."""
    WAVE_APPROVAL = "WaveApproval"
    """The change of an imported image waits for approval."""
    WAITS_FOR_TURN = "WaitsForTurn"
    """Other rollouts are under way."""
    MISSING_RIGHT = "MissingRight"
    """Its author, or its namespace, may not have the image."""
    IMAGE_REFUSED = NOT_SATISFIED
    """An image policy keeps the image out."""
    IMAGE_NOT_JUDGED = NOT_CHECKED
    """It is not known whether an image policy lets the image pass."""


KEPT_BACK: Mapping[str, bool] = {
    Reason.WAVE_CANARY: True,
    Reason.WAITS_FOR_TURN: True,
    Reason.WAVE_STOPPED: False,
    Reason.WAVE_APPROVAL: False,
    Reason.IMAGE_REFUSED: False,
    Reason.IMAGE_NOT_JUDGED: True,
}
"""Reasons for which an image that a tag has is not set yet; whether that is over by itself."""


@dataclass(frozen=True, slots=True)
class TriggerVerdict:
    """Images that the triggers set now, and the explanation."""

    reason: Reason
    message: str
    images: Mapping[Slot, str] = field(default_factory=dict)

    @property
    def resolved(self) -> bool:
        """True if every trigger that acts has its image in force."""
        return self.reason is Reason.RESOLVED


def followers_of(workload: Resource) -> Followers:
    """Return the image triggers of a workload."""
    template = pod_template(workload)
    if template is None:
        return Followers()
    if isinstance(workload, DeploymentConfig):
        return _of_config(workload, template.spec)
    text = workload.annotations.get(TRIGGERS_ANNOTATION)
    if text is None:
        return Followers()
    triggers, faults = trigger_annotation.parse(text, template.spec)
    entries = [
        ImageFollower(
            (trigger.container, trigger.init),
            StreamTag.named(trigger.tag, trigger.namespace or workload.namespace),
            Mode.PAUSED if trigger.paused else Mode.AUTOMATIC,
        )
        for trigger in triggers
    ]
    return Followers(entries, [f"annotation {TRIGGERS_ANNOTATION}{fault}" for fault in faults])


def _of_config(config: DeploymentConfig, pod: PodSpec) -> Followers:
    entries: list[ImageFollower] = []
    faults: list[str] = []
    slots = [(one.name, False) for one in pod.containers]
    slots += [(one.name, True) for one in pod.init_containers]
    for at, trigger in enumerate(config.spec.triggers or ()):
        params = trigger.image_change_params
        if trigger.type != "ImageChange":
            continue
        if params is None or not params.from_.name:
            faults.append(f"spec.triggers[{at}].imageChangeParams.from is missing")
            continue
        tag = StreamTag.of(params.from_, config.namespace)
        mode = Mode.AUTOMATIC if params.automatic else Mode.MANUAL
        followed = [slot for slot in slots if slot[0] in params.container_names]
        entries.extend(ImageFollower(slot, tag, mode) for slot in followed)
        unknown = sorted(set(params.container_names) - {slot[0] for slot in followed})
        faults.extend(f"spec.triggers[{at}]: no container is named {name!r}" for name in unknown)
    return Followers(entries, faults)


def decide(workload: Resource, streams: Mapping[StreamName, ImageStream]) -> TriggerVerdict | None:
    """Say which images the triggers of `workload` set now; None when it has no trigger.

    A DeploymentConfig's automatic triggers must all resolve before any of them acts; those of the
    annotation act one by one (image change controllers of OpenShift).
    """
    followers = followers_of(workload)
    if not followers.entries:
        if not followers.faults:
            return None
        return TriggerVerdict(
            Reason.INVALID_TRIGGER, f"{_listed(followers.faults)}; correct the trigger"
        )
    wanted, missing = _resolve(followers.automatic(), streams)
    changes = _changes(workload, wanted)
    kept_away = _kept_away(workload, followers, changes, streams)
    if kept_away is not None:
        return kept_away
    if missing:
        reason, message = missing[0]
        allowed = {} if isinstance(workload, DeploymentConfig) else changes
        return TriggerVerdict(reason, message, allowed)
    if followers.faults:
        return TriggerVerdict(Reason.INVALID_TRIGGER, _listed(followers.faults), changes)
    resolved = [f"{slot[0]} = {image}" for slot, image in wanted.items()]
    return TriggerVerdict(Reason.RESOLVED, _listed(resolved), changes)


def kept_back(
    workload: Resource, verdict: TriggerVerdict, slots: Iterable[Slot], why: tuple[Reason, str]
) -> TriggerVerdict:
    """Return the verdict without the images of these containers, and why they are not set yet.

    A DeploymentConfig gets all of its images, or none.
    """
    waiting = set(verdict.images) if isinstance(workload, DeploymentConfig) else set(slots)
    images = {slot: image for slot, image in verdict.images.items() if slot not in waiting}
    pending = _pending({slot: verdict.images[slot] for slot in waiting})
    return TriggerVerdict(why[0], f"{why[1]}{pending}", images)


def set_aside(workload: Resource, stage: str) -> TriggerVerdict:
    """Say that a stage sets the images, whatever triggers say.

    Who cannot read the Pipeline has it from here alone before the first promotion.
    """
    aside = "; triggers are set aside" if followers_of(workload).entries else ""
    return TriggerVerdict(Reason.PIPELINE, f"{stage} sets the images{aside}")


def _kept_away(
    workload: Resource,
    followers: Followers,
    changes: Mapping[Slot, str],
    streams: Mapping[StreamName, ImageStream],
) -> TriggerVerdict | None:
    """Say what keeps the triggers from acting, if anything does: a person first."""
    held = workload.annotations.get(HOLD_ANNOTATION)
    if held is not None:
        how = f"`rollout resume` or removing annotation {HOLD_ANNOTATION}"
        return TriggerVerdict(
            Reason.HELD,
            f"held: {hold_text(workload)}{_pending(changes)};"
            f" {lifts_hold(workload, how)} lifts the hold",
        )
    if is_paused(workload):
        return TriggerVerdict(
            Reason.PAUSED,
            f"spec.paused is set{_pending(changes)};"
            f" {resumes(workload, '`rollout resume`')} or false resumes",
        )
    if not followers.automatic():
        return _none_automatic(workload, followers, streams)
    return None


def lifts_hold(workload: Resource, here: str) -> str:
    """Return what lifts a hold: `here`, unless a cluster runs the workload."""
    return without_annotation(workload, HOLD_ANNOTATION) if is_native(workload) else here


def hold_end(workload: Resource) -> datetime | None:
    """Return when the hold ends by itself; None when there is none, or nobody can tell."""
    if HOLD_ANNOTATION not in workload.annotations:
        return None
    return parse_time(workload.annotations.get(HOLD_UNTIL_ANNOTATION))


def without_hold[R: Resource](workload: R) -> R:
    """Return the workload with no hold on it."""
    gone = {HOLD_ANNOTATION, HOLD_UNTIL_ANNOTATION}
    annotations = {key: value for key, value in workload.annotations.items() if key not in gone}
    return workload.with_metadata(annotations=annotations)


def hold_text(workload: Resource) -> str:
    """Say why, and until when, a workload is held; empty when it is not."""
    why = workload.annotations.get(HOLD_ANNOTATION)
    if why is None:
        return ""
    why = why or "no reason given"
    until, end = workload.annotations.get(HOLD_UNTIL_ANNOTATION), hold_end(workload)
    if end is not None:
        return f"{why} (until {end.astimezone(UTC):%Y-%m-%d %H:%M} UTC)"
    if until is not None:
        return f"{why} (for ever: {until!r} is not a time with a zone)"
    return why


def images_of_all(workload: Resource, streams: Mapping[StreamName, ImageStream]) -> dict[Slot, str]:
    """Return the image of every container that follows a tag, whether its trigger acts or not."""
    return _resolve(followers_of(workload).entries, streams)[0]


def images_set(workload: Resource) -> dict[Slot, str]:
    """Return the image of every container, as the template has it."""
    template = pod_template(workload)
    return {} if template is None else {s: one.image for s, one in _containers(template.spec)}


def unresolved(workload: Resource) -> str | None:
    """Say which containers cannot run yet: their images are blank, or not yet set by triggers.

    A trigger that acts owns the image: what the manifest declares beside it is never run. Which of
    several tags it is that has no image, the condition `ImageTriggered` says, if it is of now.
    """
    template = pod_template(workload)
    if template is None:
        return None
    owned = {entry.slot: entry for entry in followers_of(workload).automatic()}
    containers = _containers(template.spec)
    waiting = [
        owned[slot] for slot, one in containers if slot in owned and not is_pinned(one.image)
    ]
    if len({one.tag for one in waiting}) > 1 and (verdict := _verdict_of_now(workload)):
        return f"{_containers_of(waiting)} wait: {verdict}"
    if waiting:
        sources = dict.fromkeys(one.source for one in waiting)
        verb = "wait" if len(waiting) > 1 else "waits"
        return f"{_containers_of(waiting)} {verb} for {' and '.join(sources)} to have an image"
    for slot, container in containers:
        if not container.image.strip():
            return (
                f"container {slot[0]} has no image, and no automatic trigger sets it:"
                " set the image, or add a trigger"
            )
    return None


def _containers_of(waiting: Sequence[ImageFollower]) -> str:
    noun = "containers" if len(waiting) > 1 else "container"
    return f"{noun} {_listed(one.slot[0] for one in waiting)}"


def _verdict_of_now(workload: Resource) -> str:
    """Return why the triggers set no image, if that was said of the workload as it is."""
    status = getattr(workload, "status", None)
    found = find(getattr(status, "conditions", ()), IMAGE_TRIGGERED)
    if found is None or found.is_true or found.observed_generation != workload.generation:
        return ""
    return found.message


def with_images[R: Resource](workload: R, images: Mapping[Slot, str]) -> R:
    """Return the workload with these images in its template."""
    template = pod_template(workload)
    if template is None:
        return workload

    def put(containers: Iterable[Container], *, init: bool) -> tuple[Container, ...]:
        return tuple(
            one.model_copy(update={"image": images[one.name, init]})
            if (one.name, init) in images
            else one
            for one in containers
        )

    pod = template.spec.model_copy(
        update={
            "containers": put(template.spec.containers, init=False),
            "init_containers": put(template.spec.init_containers, init=True),
        }
    )
    return with_pod_template(workload, template.model_copy(update={"spec": pod}))


def _containers(pod: PodSpec) -> list[tuple[Slot, Container]]:
    return [
        *(((one.name, False), one) for one in pod.containers),
        *(((one.name, True), one) for one in pod.init_containers),
    ]


def _resolve(
    followers: Sequence[ImageFollower], streams: Mapping[StreamName, ImageStream]
) -> tuple[dict[Slot, str], list[tuple[Reason, str]]]:
    wanted: dict[Slot, str] = {}
    missing: list[tuple[Reason, str]] = []
    for follower in followers:
        stream = streams.get(follower.stream)
        image = None if stream is None else resolve_tag(stream, follower.tag.tag)
        if image is not None:
            wanted[follower.slot] = image
        elif stream is None:
            name = f"{follower.stream.namespace}/{follower.stream.name}"
            missing.append(
                (
                    Reason.STREAM_NOT_FOUND,
                    f"ImageStream {name} does not exist; create it, or correct the trigger",
                )
            )
        else:
            missing.append(
                (
                    Reason.TAG_NOT_FOUND,
                    f"{follower.source} has no image yet; it is set when one is imported or built",
                )
            )
    return wanted, missing


def _changes(workload: Resource, wanted: Mapping[Slot, str]) -> dict[Slot, str]:
    template = pod_template(workload)
    present = (
        {} if template is None else {slot: one.image for slot, one in _containers(template.spec)}
    )
    return {slot: image for slot, image in wanted.items() if present.get(slot) != image}


def _none_automatic(
    workload: Resource, followers: Followers, streams: Mapping[StreamName, ImageStream]
) -> TriggerVerdict:
    manual = [one for one in followers.entries if one.mode is Mode.MANUAL]
    wanted, _ = _resolve(followers.entries, streams)
    pending = _pending(_changes(workload, wanted))
    why = "triggers are not automatic" if manual else "triggers are paused"
    steps = f"{goes_at_once(workload)}; {updated_from_now_on(workload)}" if pending else ""
    return TriggerVerdict(Reason.PAUSED, f"all {why}{pending}{steps}")


def _pending(changes: Mapping[Slot, str]) -> str:
    if not changes:
        return ""
    return "; pending: " + _listed([f"{slot[0]} = {image}" for slot, image in changes.items()])


def _listed(parts: Iterable[str]) -> str:
    return ", ".join(parts)
