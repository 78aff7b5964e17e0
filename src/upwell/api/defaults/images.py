"""Defaults of image.openshift.io."""

from upwell.api.defaults.names import with_kind
from upwell.api.image import ImageStream


def complete_image_stream(stream: ImageStream) -> ImageStream:
    """Return a stream with its defaults."""
    tags = tuple(
        tag.model_copy(update={"from_": with_kind(tag.from_)}) if tag.from_ else tag
        for tag in stream.spec.tags
    )
    if tags == stream.spec.tags:
        return stream
    return stream.model_copy(update={"spec": stream.spec.model_copy(update={"tags": tags})})
