"""Defaults of image.openshift.io.

Not `importPolicy.importMode`: what a tag leaves out there follows from its annotations, and without
them an index is kept whole.
"""

from collections.abc import Mapping

from upwell.api.defaults.names import with_kind
from upwell.api.image import (
    ImageStream,
    ImageStreamSpec,
    LookupPolicy,
    ReferencePolicy,
    TagReference,
)
from upwell.api.meta import Model

STORED: Mapping[type[Model], tuple[str, ...]] = {
    ImageStreamSpec: ("lookup_policy",),
    LookupPolicy: ("local",),
    TagReference: ("reference_policy",),
    ReferencePolicy: ("type",),
}


def named_kinds(stream: ImageStream) -> ImageStream:
    """Return a stream whose tags say of what kind their source is."""
    tags = tuple(
        tag.model_copy(update={"from_": with_kind(tag.from_)}) if tag.from_ else tag
        for tag in stream.spec.tags
    )
    if tags == stream.spec.tags:
        return stream
    return stream.model_copy(update={"spec": stream.spec.model_copy(update={"tags": tags})})


def with_sorted_tags(stream: ImageStream) -> ImageStream:
    """Return a stream with its tags by their names; faults name them as they were written."""
    tags = tuple(sorted(stream.spec.tags, key=lambda tag: tag.name))
    if tags == stream.spec.tags:
        return stream
    return stream.model_copy(update={"spec": stream.spec.model_copy(update={"tags": tags})})
