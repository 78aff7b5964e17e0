"""Whether a BuildConfig needs a build now, and why; or why not.

Level-triggered: what the followed tags name now is compared with what the newest build was made
from, so that a change is found however it came, and an event that is lost loses nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from upwell.api.build import (
    PAUSED_ANNOTATION,
    Build,
    BuildConfig,
    BuildTriggerCause,
    ImageChangeCause,
    ImageInput,
)
from upwell.api.defaults import DOCKER_IMAGE, IMAGE_STREAM_TAG
from upwell.api.image import ImageStream
from upwell.api.meta import ObjectReference
from upwell.oci import InvalidReferenceError, Reference
from upwell.policy.local_names import is_local, local_stream
from upwell.policy.repository_tags import effective_tags
from upwell.policy.streams import StreamName, resolve_tag, split_tag

CONFIG_CHANGE = "Build configuration change"
IMAGE_CHANGE = "Image change"
MANUAL = "Manually triggered"
SPEC_IMAGE_PREFIX = "spec."
"""Before the names of images that the Build's spec gives, not its Dockerfile."""

type Streams = Mapping[StreamName, ImageStream]


@dataclass(frozen=True, slots=True)
class FollowedImage:
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

    @property
    def changed(self) -> bool:
        """Whether a build with the present digest is due."""
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
    """Nothing is due; `message` says why."""

    reason: str
    message: str


type Decision = StartBuild | Hold | UpToDate


def decide(
    config: BuildConfig, images: Sequence[FollowedImage], *, is_new: bool, busy: Sequence[str]
) -> Decision:
    """Say what `config` needs, given what it follows.

    `is_new`: it was never built. `busy` names the builds and BuildConfigs upstream of it that
    will change one of its inputs soon: it waits for them, so that several changes that come from
    one base image make one build (a diamond).
    """
    causes = [_image_cause(image) for image in images if image.changed]
    first = is_new and any(trigger.type == "ConfigChange" for trigger in config.spec.triggers)
    if first and not causes:
        causes = [BuildTriggerCause(message=CONFIG_CHANGE)]
    if not causes:
        return _idle(config, images)
    if config.annotations.get(PAUSED_ANNOTATION) == "true":
        return Hold("Paused", f"annotation {PAUSED_ANNOTATION} is set: remove it to build")
    missing = [image.name for image in images if image.now is None]
    if missing:
        return Hold("ImageNotResolved", f"waits for {', '.join(missing)} to have an image")
    if busy:
        return Hold("UpstreamBuilding", f"waits for {', '.join(busy)}: its result is an input")
    return StartBuild(tuple(causes))


def followed_images(
    config: BuildConfig, streams: Streams, newest: Build | None
) -> list[FollowedImage]:
    """Return every tag that a change trigger of `config` follows.

    With any ImageChange trigger, the images that the last Dockerfile took from outside are
    followed too, through the ImageStream of the namespace that imports them.
    """
    built = _built_with(config, newest)
    found: dict[str, FollowedImage] = {}
    automatic = False
    for trigger in config.spec.triggers:
        if trigger.type != "ImageChange":
            continue
        change = trigger.image_change
        reference = (change.from_ if change else None) or config.spec.strategy.base
        if reference is None or reference.kind != IMAGE_STREAM_TAG:
            continue
        automatic = True
        image = _follow(reference, config, streams, built)
        paused = bool(change and change.paused)
        found[image.name] = FollowedImage(image.reference, image.now, image.built, paused)
    if automatic and newest is not None:
        for reference in _tracked(config, streams, newest):
            image = _follow(reference, config, streams, built)
            found.setdefault(image.name, image)
    return list(found.values())


def image_inputs(images: Sequence[FollowedImage]) -> tuple[ImageInput, ...]:
    """Return what a new build records of the tags it was started with."""
    return tuple(
        ImageInput(from_=image.reference, image=image.now)
        for image in images
        if image.now is not None
    )


def tracking_tag(name: str, namespace: str, streams: Streams) -> ObjectReference | None:
    """Return the stream tag of `namespace` through which the image `name` is known, if any.

    That is the tag that a short name stands for in a stream with a local lookup policy; a tag
    that imports the image; or, for an image of the internal registry, the tag itself.
    """
    short = local_stream(name, namespace)
    if short is not None and "@" not in name and short in streams and is_local(streams[short]):
        return _tag_reference(short, name.strip().partition(":")[2] or "latest")
    try:
        wanted = Reference.parse(name)
    except InvalidReferenceError:
        return None
    for stream_name, stream in streams.items():
        inside = stream.status.docker_image_repository == wanted.name
        if inside and wanted.tag is not None:
            return _tag_reference(stream_name, wanted.tag)
        if stream_name.namespace != namespace:
            continue
        for tag in effective_tags(stream):
            if tag.imports and _same_image(tag.imports, wanted):
                return _tag_reference(stream_name, tag.name)
    return None


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


def _same_image(name: str, wanted: Reference) -> bool:
    try:
        return Reference.parse(name) == wanted
    except InvalidReferenceError:
        return False


def _tag_reference(stream: StreamName, tag: str) -> ObjectReference:
    return ObjectReference(
        kind=IMAGE_STREAM_TAG, namespace=stream.namespace, name=f"{stream.name}:{tag}"
    )


def _follow(
    reference: ObjectReference, config: BuildConfig, streams: Streams, built: Mapping[str, str]
) -> FollowedImage:
    stream_name, tag = split_tag(reference, config.namespace)
    complete = _tag_reference(stream_name, tag)
    stream = streams.get(stream_name)
    now = resolve_tag(stream, tag) if stream is not None else None
    return FollowedImage(complete, now, built.get(f"{complete.namespace}/{complete.name}"))


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


def _tracked(config: BuildConfig, streams: Streams, newest: Build) -> list[ObjectReference]:
    """Return the tags behind the images that the newest build took from outside."""
    found = []
    for name in tracked_names(newest):
        reference = tracking_tag(name, config.namespace, streams)
        if reference is not None:
            found.append(reference)
    return found


def _image_cause(image: FollowedImage) -> BuildTriggerCause:
    return BuildTriggerCause(
        message=IMAGE_CHANGE,
        image_change_build=ImageChangeCause(
            image_id=image.now or "", from_ref=image.reference, previous_image_id=image.built
        ),
    )


def _idle(config: BuildConfig, images: Sequence[FollowedImage]) -> UpToDate:
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
        return UpToDate("NotFollowed", f"{base.name} is no ImageStreamTag: no change is noticed")
    return UpToDate("UpToDate", "the newest build has the present digest of every followed image")
