"""Registries that may be asked over plain HTTP or without valid TLS, as ImageStreams say."""

from collections.abc import Iterable, Iterator

from upwell.api.image import ImageStream
from upwell.oci import InvalidReferenceError, Reference
from upwell.policy.images.repository_tags import effective_tags, is_insecure


def insecure_registries(streams: Iterable[ImageStream]) -> frozenset[str]:
    """Return the registries that these streams import from insecurely.

    By `importPolicy.insecure` of a tag, or the annotation for all that a stream imports.
    """
    return frozenset(registry for stream in streams for registry in _of_stream(stream))


def _of_stream(stream: ImageStream) -> Iterator[str]:
    for tag in effective_tags(stream):
        if (tag.insecure or is_insecure(stream)) and tag.imports:
            yield from _registry(tag.imports)
    if is_insecure(stream) and stream.spec.docker_image_repository:
        yield from _registry(stream.spec.docker_image_repository)


def _registry(name: str) -> Iterator[str]:
    try:
        yield Reference.parse(name).registry
    except InvalidReferenceError:
        return  # the import says what is wrong with it
