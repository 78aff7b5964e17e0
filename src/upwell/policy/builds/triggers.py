"""Triggers of builds: why a BuildConfig needs a build now, or why it does not.

Level-triggered: what the followed tags name now is compared with what the newest build was made
from, so that a change is found however it came, and an event that is lost loses nothing.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from upwell.api.builds.build import (
    RUN_POLICY_LABEL,
    Build,
    BuildPhase,
    BuildStatus,
    BuildTriggerCause,
    ImageChangeCause,
    ImageInput,
)
from upwell.api.builds.config import PAUSED_ANNOTATION, BuildConfig, RunPolicy
from upwell.api.conditions import find
from upwell.api.defaults import DOCKER_IMAGE, IMAGE_STREAM_TAG
from upwell.api.image import ImageStream
from upwell.api.meta import ObjectReference
from upwell.api.values.author import made_of
from upwell.api.values.base_changes import ON_BASE_CHANGE_ANNOTATION, OnBaseChange
from upwell.policy.builds.failures import was_not_rebased
from upwell.policy.images.names import ImageNames
from upwell.policy.images.streams import StreamName, StreamTag, resolve_tag

CONFIG_CHANGE = "Build configuration change"
IMAGE_CHANGE = "Image change"
MANUAL = "Manually triggered"
SPEC_IMAGE_PREFIX = "spec."
"""Before the names of images that the Build's spec gives, not its Dockerfile."""

CURRENT = "Current"
"""Condition of a BuildConfig: whether the newest build has the present inputs."""

BASE_CHANGED = "BaseChanged"
"""Reason of a BuildConfig that is not built, though its base has changed."""

UPSTREAM_BUILDING = "UpstreamBuilding"
"""Reason of a BuildConfig that waits for the builds above it."""

type Streams = Mapping[StreamName, ImageStream]


@dataclass(frozen=True, slots=True)
class ImageBar:
    """Reason why nothing is built on an image; the message goes on after the image's name."""

    reason: str
    message: str
    new_alone: bool = False
    """Builds on it go on where the newest build stands on it already."""


@dataclass(frozen=True, slots=True)
class FollowedTag:
    """A tag that the BuildConfig follows: what it names now, and what was last built with."""

    reference: ObjectReference
    """Kind ImageStreamTag, with its namespace."""
    now: str | None
    """Pull spec with digest; None while the tag has no image."""
    built: str | None
    """Pull spec of the newest build; None when it was not built with this tag yet."""
    paused: bool = False
    cyclic: bool = False
    """It is made from the BuildConfig's own result: to follow it would never end."""
    barred: ImageBar | None = None
    """Bar of builds on the present image."""
    notified: bool = False
    """A change of it is shown, and starts no build by itself."""

    @property
    def changed(self) -> bool:
        """Return True if a build with the present digest is due."""
        return (
            not self.paused
            and not self.cyclic
            and self.now is not None
            and digest_of(self.now) != (digest_of(self.built) if self.built else None)
        )

    @property
    def name(self) -> str:
        """`namespace/stream:tag`."""
        return f"{self.reference.namespace}/{self.reference.name}"


@dataclass(frozen=True, slots=True)
class StartBuild:
    """Start one build for all these causes."""

    causes: tuple[BuildTriggerCause, ...]


@dataclass(frozen=True, slots=True)
class Hold:
    """A build is due but waits; `reason` and `message` go into a condition."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class UpToDate:
    """Decision that nothing is due; `message` says why."""

    reason: str
    message: str


type Decision = StartBuild | Hold | UpToDate


def decide(
    config: BuildConfig,
    images: Sequence[FollowedTag],
    *,
    is_new: bool,
    busy: Sequence[str],
    besides: Sequence[FollowedTag] = (),
) -> Decision:
    """Say what `config` needs, given what it follows.

    `is_new`: it was never built. `busy` names the builds and BuildConfigs upstream of it that
    will change one of its inputs soon: it waits for them, so that several changes that come from
    one base image make one build (a diamond). `besides` it reads these, which start no build.
    """
    causes = [_image_cause(image) for image in images if image.changed]
    first = is_new and any(trigger.type == "ConfigChange" for trigger in config.spec.triggers)
    if first and not causes:
        causes = [BuildTriggerCause(message=CONFIG_CHANGE)]
    if not causes:
        return _idle(config, images)
    hold = _hold(config, images, busy, besides)
    return hold if hold is not None else StartBuild(tuple(causes))


def _hold(
    config: BuildConfig,
    images: Sequence[FollowedTag],
    busy: Sequence[str],
    besides: Sequence[FollowedTag],
) -> Hold | None:
    """Return why a build that is due waits; None: it begins."""
    changed = [image for image in images if image.changed]
    if changed and all(image.notified for image in changed):
        return Hold(BASE_CHANGED, _base_message(config, changed))
    if config.annotations.get(PAUSED_ANNOTATION) == "true":
        return Hold("Paused", f"annotation {PAUSED_ANNOTATION} is set: remove it to build")
    missing = [image.name for image in images if image.now is None]
    if missing:
        return Hold("ImageNotResolved", f"waits for {', '.join(missing)} to have an image")
    read = (*images, *besides)
    bars = [(image.name, image.barred) for image in read if image.barred is not None]
    if bars:
        return Hold(bars[0][1].reason, "; ".join(f"{name} {bar.message}" for name, bar in bars))
    if busy:
        return Hold(UPSTREAM_BUILDING, f"waits for {', '.join(busy)}: its result is an input")
    return None


def waits_for_upstream(config: BuildConfig) -> bool:
    """Return True if `config` waits for builds above it."""
    condition = find(config.status.conditions, CURRENT)
    return condition is not None and condition.reason == UPSTREAM_BUILDING


def may_renew(config: BuildConfig) -> bool:
    """Return True unless something keeps the queued build of `config` from newer inputs."""
    condition = find(config.status.conditions, CURRENT)
    return condition is None or condition.status == "True" or waits_for_upstream(config)


def waiting_since(config: BuildConfig | None) -> datetime | None:
    """Return since when `config` waits for builds above it; None: it does not wait for any."""
    if config is None or not waits_for_upstream(config):
        return None
    condition = find(config.status.conditions, CURRENT)
    return condition.last_transition_time if condition is not None else None


def has_built_since(builds: Iterable[Build], since: datetime) -> bool:
    """Return True if one of `builds` began at that time or later, and has ended by itself."""
    return any(
        build.status.phase.is_terminal
        and (build.status.phase is not BuildPhase.CANCELLED or was_not_rebased(build))
        and build.status.start_timestamp is not None
        and build.status.start_timestamp >= since
        for build in builds
    )


def with_newest_inputs(queued: Build, new: Build) -> Build:
    """Return the queued build with the inputs of `new`, which would come right after it.

    Its causes go on from the images that were built last, not from those that it was queued with.
    """
    old = {_followed_by(cause): cause for cause in queued.spec.triggered_by}
    found = {_followed_by(cause): cause for cause in new.spec.triggered_by}
    labels = {**queued.labels, RUN_POLICY_LABEL: new.labels.get(RUN_POLICY_LABEL, RunPolicy.SERIAL)}
    spec = new.spec.model_copy(update={"triggered_by": tuple({**old, **found}.values())})
    renewed = queued.with_metadata(labels=labels).model_copy(update={"spec": spec})
    return made_of(renewed, new)


def renewed_status(status: BuildStatus) -> BuildStatus:
    """Return the status of a queued build without what an attempt found out of its old inputs."""
    changes: dict[str, object] = {"images": (), "inputs": None, "replaces": None}
    changes |= {"revision": None, "rebase": None}
    if status.retry_time is not None:
        changes |= {"reason": None, "message": None, "retry_time": None, "attempts": 0}
    return status.model_copy(update={**changes, "renewed": status.renewed + 1})


def _followed_by(cause: BuildTriggerCause) -> str:
    """Return the followed tag that a cause names."""
    change = cause.image_change_build
    reference = change.from_ref if change is not None else None
    return f"{reference.namespace}/{reference.name}" if reference is not None else ""


def followed_tags(
    config: BuildConfig, names: ImageNames, newest: Build | None
) -> dict[StreamTag, bool]:
    """Return every tag that a change trigger of `config` follows, and whether that is paused.

    With any ImageChange trigger, the images that the last Dockerfile took from outside are
    followed too, through the tag by which the namespace knows them.
    """
    found: dict[StreamTag, bool] = {}
    for trigger in config.spec.triggers:
        if trigger.type != "ImageChange":
            continue
        change = trigger.image_change
        reference = (change.from_ if change else None) or config.spec.strategy.base
        if reference is not None and reference.kind == IMAGE_STREAM_TAG:
            paused = bool(change and change.paused)
            found[StreamTag.of(reference, config.namespace)] = paused
    if found and newest is not None:
        for name in tracked_names(newest):
            tag = names.keeper(name, config.namespace)
            if tag is not None:
                found.setdefault(tag, False)
    return found


def followed_images(
    config: BuildConfig, streams: Streams, names: ImageNames, newest: Build | None
) -> list[FollowedTag]:
    """Return what each followed tag names now, and what the newest build was made from.

    `names` knows the same `streams`; of these, the followed ones are looked at.
    """
    built = _built_with(config, newest)
    found = []
    for tag, paused in followed_tags(config, names, newest).items():
        stream = streams.get(tag.stream_name)
        now = resolve_tag(stream, tag.tag) if stream is not None else None
        found.append(FollowedTag(tag.reference, now, built.get(str(tag)), paused))
    return found


def base_image(config: BuildConfig, streams: Streams, newest: Build | None) -> FollowedTag | None:
    """Return the tag of a stream that `config` is built on, also if no trigger follows it."""
    base = config.spec.strategy.base
    if base is None or base.kind != IMAGE_STREAM_TAG:
        return None
    tag = StreamTag.of(base, config.namespace)
    stream = streams.get(tag.stream_name)
    now = resolve_tag(stream, tag.tag) if stream is not None else None
    built = newest.spec.strategy.base if newest is not None else None
    return FollowedTag(tag.reference, now, built.name if built is not None else None)


def images_besides(
    config: BuildConfig, streams: Streams, names: ImageNames, newest: Build | None
) -> list[FollowedTag]:
    """Return the tags of streams that a build of `config` takes files or stages from.

    Those of its source, and of its last Dockerfile, whether a trigger follows them or not.
    """
    used = {digest_of(one.reference) for one in newest.status.images} if newest is not None else ()
    tags = [
        StreamTag.of(one.from_, config.namespace)
        for one in config.spec.source.images
        if one.from_.kind in {IMAGE_STREAM_TAG, ""}
    ]
    kept = (names.keeper(name, config.namespace) for name in config.status.tracked_images)
    found = []
    for tag in dict.fromkeys([*tags, *(one for one in kept if one is not None)]):
        stream = streams.get(tag.stream_name)
        now = resolve_tag(stream, tag.tag) if stream is not None else None
        built = now if now is not None and digest_of(now) in used else None
        found.append(FollowedTag(tag.reference, now, built))
    return found


def image_inputs(images: Sequence[FollowedTag]) -> tuple[ImageInput, ...]:
    """Return what a new build records of the tags it was started with."""
    return tuple(
        ImageInput(from_=image.reference, image=image.now)
        for image in images
        if image.now is not None
    )


def tracked_names(build: Build) -> tuple[str, ...]:
    """Return the images that the build's Dockerfile took from outside, as it writes them.

    An image that the spec gives is none of them, such as one in the last FROM's place.
    """
    if build.spec.strategy.source_strategy is not None:
        return ()
    return tuple(i.name for i in build.status.images if not i.name.startswith(SPEC_IMAGE_PREFIX))


def digest_of(pull_spec: str) -> str:
    """Return what identifies the image: its digest, or the whole text where there is none."""
    _, at, digest = pull_spec.partition("@")
    return digest if at else pull_spec


def _built_with(config: BuildConfig, newest: Build | None) -> dict[str, str]:
    """Return the pull spec of each followed tag at the newest build.

    The status remembers for builds that are deleted by now.
    """
    if newest is not None:
        found = {
            f"{entry.from_.namespace}/{entry.from_.name}": entry.image
            for entry in newest.spec.image_inputs
        }
        for image in newest.status.images:
            if image.stream_tag:
                found.setdefault(image.stream_tag, image.reference)
        return found
    return {
        f"{entry.from_.namespace or config.namespace}/{entry.from_.name}": (
            entry.last_triggered_image_id
        )
        for entry in config.status.image_change_triggers
    }


def _image_cause(image: FollowedTag) -> BuildTriggerCause:
    return BuildTriggerCause(
        message=IMAGE_CHANGE,
        image_change_build=ImageChangeCause(
            image_id=image.now or "", from_ref=image.reference, previous_image_id=image.built
        ),
    )


def _base_message(config: BuildConfig, changed: Sequence[FollowedTag]) -> str:
    """Say which base has changed, and how it is built upon."""
    moves = [
        f"{image.name} was {digest_of(image.built or '')} and is {digest_of(image.now or '')}"
        for image in changed
    ]
    return (
        f"its base has changed: {'; '.join(moves)}; annotation {ON_BASE_CHANGE_ANNOTATION} or the"
        f" server's default says {OnBaseChange.NOTIFY}: `upwell start-build {config.name}"
        f" -n {config.namespace}` builds on it"
    )


def _idle(config: BuildConfig, images: Sequence[FollowedTag]) -> UpToDate:
    cyclic = [image.name for image in images if image.cyclic]
    if cyclic:
        message = f"{', '.join(cyclic)} is made from this BuildConfig's own result: not followed"
        return UpToDate("Cycle", message)
    paused = [image.name for image in images if image.paused and image.now != image.built]
    if paused:
        return UpToDate("TriggerPaused", f"the trigger of {', '.join(paused)} is paused")
    missing = [image.name for image in images if image.now is None]
    if missing:
        return UpToDate("ImageNotResolved", f"waits for {', '.join(missing)} to have an image")
    if not config.spec.triggers:
        return UpToDate("NoTriggers", "has no triggers: `upwell start-build` starts a build")
    base = config.spec.strategy.base
    if not images and base is not None and base.kind == DOCKER_IMAGE:
        return UpToDate(
            "NotFollowed", f"{base.name} is not an ImageStreamTag: changes are not followed"
        )
    return UpToDate("UpToDate", "the newest build has the present digest of every followed image")
