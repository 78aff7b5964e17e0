"""Faults that keep a BuildConfig or a Build from being built, or from being built once only."""

from collections.abc import Container, Iterator
from dataclasses import dataclass

from upwell.api.builds.build import Build
from upwell.api.builds.config import BuildConfig
from upwell.api.defaults import DOCKER_IMAGE, IMAGE_STREAM_TAG
from upwell.api.meta import ObjectReference
from upwell.policy.builds.new_build import UnresolvedInputError, pin_reference
from upwell.policy.builds.objects import objects_required
from upwell.policy.builds.triggers import Streams
from upwell.policy.images.names import names_in
from upwell.policy.images.streams import StreamName, StreamTag
from upwell.policy.rollouts.pod_template import SECRET, SourceName


@dataclass(frozen=True, slots=True)
class MissingInput:
    """Objects that a build needs and that do not exist; reason and message of its status."""

    reason: str
    message: str


def references(config: BuildConfig) -> Iterator[ObjectReference]:
    """Yield every image that a build of `config` starts from or follows."""
    spec = config.spec
    if spec.strategy.base is not None:
        yield spec.strategy.base
    yield from (image.from_ for image in spec.source.images)
    for trigger in spec.triggers:
        if trigger.image_change is not None and trigger.image_change.from_ is not None:
            yield trigger.image_change.from_


def missing_inputs(config: BuildConfig, streams: Streams) -> list[str]:
    """Name what a build of `config` would miss now: images of streams, the output's stream."""
    found: dict[str, None] = {}
    for reference in references(config):
        try:
            pin_reference(reference, config.namespace, streams)
        except UnresolvedInputError as error:
            found[str(error)] = None
    missing = _missing_output(config, streams)
    return list(found) if missing is None else [*found, missing]


def missing_input(
    build: Build, streams: Streams, objects: Container[SourceName]
) -> MissingInput | None:
    """Say what must be created before `build` can run; None: nothing.

    `streams` and `objects` are those that exist, of `streams_named` and `objects_required`.
    """
    output = _missing_output(build, streams)
    if output is not None:
        return MissingInput("InvalidOutputReference", output)
    for reference in _stream_references(build):
        try:
            pin_reference(reference, build.namespace, streams)
        except UnresolvedInputError as error:
            return MissingInput("InvalidImageReference", str(error))
    missing = [name for name in objects_required(build) if name not in objects]
    if not missing:
        return None
    push = build.spec.output.push_secret
    if push is not None and SourceName(SECRET, push.name) in missing:
        return MissingInput("MissingPushSecret", f"waits for Secret {push.name}: create it")
    names = ", ".join(f"{name.kind} {name.name}" for name in missing)
    return MissingInput("GenericBuildFailed", f"waits for {names}: create what is missing")


def streams_named(build: Build) -> frozenset[StreamName]:
    """Return the streams that a build's images and its output may be tags of."""
    references = [*_stream_references(build), build.spec.output.to]
    names = {name for one in references for name in names_in(one, build.namespace)}
    return frozenset(name for name in names if isinstance(name, StreamName))


def build_warnings(config: BuildConfig) -> Iterator[str]:
    """Yield what the author of a BuildConfig may have meant differently."""
    target = config.spec.output.to
    for at, trigger in enumerate(config.spec.triggers):
        if trigger.type != "ImageChange" or target is None:
            continue
        followed = trigger.image_change.from_ if trigger.image_change else None
        followed = followed or config.spec.strategy.base
        if followed is not None and _same(followed, target, config.namespace):
            yield (
                f"spec.triggers[{at}] follows {target.name}, the output: each build would start"
                " the next, so that changes of it start none"
            )


def _missing_output(owner: BuildConfig | Build, streams: Streams) -> str | None:
    target = owner.spec.output.to
    if target is None or target.kind != IMAGE_STREAM_TAG:
        return None
    stream = StreamTag.of(target, owner.namespace).stream_name
    if stream in streams:
        return None
    return f"output ImageStream {stream.namespace}/{stream.name} does not exist: create it"


def _stream_references(build: Build) -> Iterator[ObjectReference]:
    """Yield the references of streams: only a Build that nobody pinned has any."""
    base = build.spec.strategy.base
    named = [*([base] if base else []), *(image.from_ for image in build.spec.source.images)]
    yield from (reference for reference in named if reference.kind != DOCKER_IMAGE)


def _same(one: ObjectReference, other: ObjectReference, namespace: str) -> bool:
    if DOCKER_IMAGE in {one.kind, other.kind}:
        return False
    return StreamTag.of(one, namespace) == StreamTag.of(other, namespace)
