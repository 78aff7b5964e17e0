"""ImageStreams of other namespaces that an object takes images from; pure.

The server follows them by its own right, so that whoever writes the object must have one.
"""

from collections.abc import Iterable, Iterator

from upwell.api.build import Build, BuildConfig, CommonSpec
from upwell.api.defaults import DOCKER_IMAGE
from upwell.api.image import ImageStream
from upwell.api.meta import ObjectReference, Resource
from upwell.policy.access.roles import Action, Grant, is_allowed, missing
from upwell.policy.images.streams import StreamName, StreamTag
from upwell.policy.rollouts.triggers import followers_of


def foreign_streams(resource: Resource) -> set[StreamName]:
    """Return the streams of other namespaces that `resource` follows or builds from."""
    namespace = resource.namespace
    named = (StreamTag.of(reference, namespace).stream_name for reference in _references(resource))
    followed = (entry.stream for entry in followers_of(resource).entries)
    return {stream for stream in (*named, *followed) if stream.namespace != namespace}


def refusal(resource: Resource, old: Resource | None, grants: Iterable[Grant]) -> str | None:
    """Say which stream of another namespace the author may not read; None: they may read all.

    What the object had before stays allowed: whoever changes a label is asked for nothing.
    """
    grants = tuple(grants)
    known = foreign_streams(old) if old is not None else set()
    for stream in sorted(foreign_streams(resource) - known):
        action = Action("get", "imagestreams", stream.namespace, stream.name)
        if not is_allowed(grants, action):
            source = f"ImageStream {stream.namespace}/{stream.name}"
            return f"takes images from {source}, and {action} {missing(action)}"
    return None


def _references(resource: Resource) -> Iterator[ObjectReference]:
    match resource:
        case ImageStream():
            named = [tag.from_ for tag in resource.spec.tags]
        case BuildConfig():
            changes = [trigger.image_change for trigger in resource.spec.triggers]
            named = [*_read(resource.spec), *(c.from_ for c in changes if c is not None)]
        case Build():
            named = _read(resource.spec)
        case _:
            named = []
    yield from (r for r in named if r is not None and r.kind != DOCKER_IMAGE and r.namespace)


def _read(spec: CommonSpec) -> list[ObjectReference | None]:
    return [spec.strategy.base, *(image.from_ for image in spec.source.images)]
