"""Short image names that stand for tags of the namespace's own streams (lookupPolicy.local)."""

import re
from collections.abc import Mapping

from upwell.api.image import ImageStream
from upwell.policy.images.streams import StreamName, StreamTag, resolve_tag

RESOLVE_NAMES_ANNOTATION = "alpha.image.policy.openshift.io/resolve-names"
"""On an object or a pod template, with the value `*`: short names resolve through every stream."""

_SHORT = re.compile(
    r"(?P<stream>[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?)"
    r"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9._-]{0,127})|@(?P<digest>sha256:[0-9a-f]{64}))?"
)


def local_stream(image: str, namespace: str) -> StreamName | None:
    """Return the stream that `image` may stand for; None when it is no short name."""
    match = _SHORT.fullmatch(image.strip())
    return StreamName(namespace, match["stream"]) if match else None


def local_tag(
    image: str, namespace: str, stream: ImageStream, *, every_stream: bool = False
) -> StreamTag | None:
    """Return the tag that a short name stands for; None: a digest, or nothing of the stream.

    `every_stream` is what RESOLVE_NAMES_ANNOTATION asks for.
    """
    match = _SHORT.fullmatch(image.strip())
    if match is None or match["digest"] or not (every_stream or is_local(stream)):
        return None
    return StreamTag(namespace, match["stream"], match["tag"] or "latest")


def resolve_local(
    image: str,
    namespace: str,
    streams: Mapping[StreamName, ImageStream],
    *,
    every_stream: bool = False,
) -> str | None:
    """Return the pull spec that a short name stands for; None when no stream claims it.

    A tag without an image yet becomes the name of the internal registry, where it may be pushed.
    `every_stream` is what RESOLVE_NAMES_ANNOTATION asks for.
    """
    match = _SHORT.fullmatch(image.strip())
    if match is None:
        return None
    stream = streams.get(StreamName(namespace, match["stream"]))
    if stream is None or not (every_stream or is_local(stream)):
        return None
    repository = stream.status.docker_image_repository
    if match["digest"]:
        return f"{repository}@{match['digest']}" if repository else None
    tag = match["tag"] or "latest"
    return resolve_tag(stream, tag) or (f"{repository}:{tag}" if repository else None)


def is_local(stream: ImageStream) -> bool:
    """Return True if short names in the stream's namespace resolve through it."""
    return stream.spec.lookup_policy.local
