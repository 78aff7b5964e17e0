"""What keeps a BuildConfig from being built, or from being built once only."""

from collections.abc import Iterator

from upwell.api.build import BuildConfig
from upwell.api.defaults import DOCKER_IMAGE, IMAGE_STREAM_TAG
from upwell.api.meta import ObjectReference
from upwell.policy.builds.new_build import UnresolvedInputError, pin_reference
from upwell.policy.builds.triggers import Streams
from upwell.policy.images.streams import split_tag


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
    """Name what a build of `config` would lack now: images of streams, the output's stream."""
    found: dict[str, None] = {}
    for reference in references(config):
        try:
            pin_reference(reference, config.namespace, streams)
        except UnresolvedInputError as error:
            found[str(error)] = None
    target = config.spec.output.to
    if target is not None and target.kind == IMAGE_STREAM_TAG:
        stream, _ = split_tag(target, config.namespace)
        if stream not in streams:
            name = f"{stream.namespace}/{stream.name}"
            found[f"output ImageStream {name} does not exist: create it"] = None
    return list(found)


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


def _same(one: ObjectReference, other: ObjectReference, namespace: str) -> bool:
    if DOCKER_IMAGE in {one.kind, other.kind}:
        return False
    return split_tag(one, namespace) == split_tag(other, namespace)
