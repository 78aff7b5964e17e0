"""Stream that follows the image of a service."""

import re

from upwell.api.defaults import DOCKER_IMAGE
from upwell.api.image import ImageStream, ImageStreamSpec, ImportPolicy, TagReference
from upwell.api.meta import ObjectMeta, ObjectReference
from upwell.oci import InvalidReferenceError, Reference
from upwell.policy.adoption.names import AdoptionError
from upwell.policy.images.selection import SELECTION_ANNOTATION

_LATEST = "latest"


def image_of(written: str) -> Reference:
    """Return what an image's name means; raises AdoptionError."""
    try:
        return Reference.parse(written)
    except InvalidReferenceError as error:
        raise AdoptionError(str(error)) from error


def followed_tag(stream: str, image: str) -> str:
    """Return the `STREAM:TAG` that follows an image; raises AdoptionError."""
    return f"{stream}:{image_of(image).tag or _LATEST}"


def followed_stream(stream: str, image: str, selection: str = "") -> ImageStream:
    """Return a stream with one tag, which is looked at on the server's schedule.

    `selection` is the annotation by which a later tag of the repository may be chosen.
    Raises AdoptionError.
    """
    reference = image_of(image)
    tag = TagReference(
        name=reference.tag or _LATEST,
        annotations={SELECTION_ANNOTATION: selection} if selection else {},
        from_=ObjectReference(kind=DOCKER_IMAGE, name=image),
        # A digest never names anything else: there is nothing to look for.
        import_policy=ImportPolicy(scheduled=True if reference.digest is None else None),
    )
    return ImageStream(metadata=ObjectMeta(name=stream), spec=ImageStreamSpec(tags=(tag,)))


def normalised(image: str) -> str:
    """Return the last part of an image's repository, as a stream may be named."""
    return re.sub(r"[^a-z0-9]+", "-", image_of(image).repository.rpartition("/")[2]).strip("-")
