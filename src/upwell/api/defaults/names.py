"""Names and numbers that defaults and their readers share."""

from upwell.api.meta import ObjectReference

IMAGE_STREAM_TAG = "ImageStreamTag"
DOCKER_IMAGE = "DockerImage"


def with_kind(reference: ObjectReference) -> ObjectReference:
    """Return a reference to an image; an unnamed kind is an ImageStreamTag."""
    if reference.kind:
        return reference
    return reference.model_copy(update={"kind": IMAGE_STREAM_TAG})
