"""ImageStreams of other namespaces that an object takes images from; pure.

The server follows them by its own right: `authority` asks whoever writes the object for one.
"""

from collections.abc import Iterator

from upwell.api.builds.build import Build
from upwell.api.builds.config import BuildConfig
from upwell.api.builds.inputs import CommonSpec
from upwell.api.defaults import DOCKER_IMAGE
from upwell.api.image import ImageStream
from upwell.api.meta import ObjectReference, Resource
from upwell.api.pipeline import Pipeline
from upwell.policy.images.streams import StreamName, StreamTag
from upwell.policy.rollouts.triggers import followers_of


def foreign_streams(resource: Resource) -> set[StreamName]:
    """Return the streams of other namespaces that `resource` follows, promotes or builds from."""
    namespace = resource.namespace
    named = (StreamTag.of(reference, namespace).stream_name for reference in _references(resource))
    followed = (entry.stream for entry in followers_of(resource).entries)
    return {stream for stream in (*named, *followed) if stream.namespace != namespace}


def _references(resource: Resource) -> Iterator[ObjectReference]:
    match resource:
        case ImageStream():
            named = [tag.from_ for tag in resource.spec.tags]
        case BuildConfig():
            changes = [trigger.image_change for trigger in resource.spec.triggers]
            named = [*_read(resource.spec), *(c.from_ for c in changes if c is not None)]
        case Build():
            named = _read(resource.spec)
        case Pipeline():
            named = [component.from_ for component in resource.spec.components]
        case _:
            named = []
    yield from (r for r in named if r is not None and r.kind != DOCKER_IMAGE and r.namespace)


def _read(spec: CommonSpec) -> list[ObjectReference | None]:
    return [spec.strategy.base, *(image.from_ for image in spec.source.images)]
