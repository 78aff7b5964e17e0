"""Names and numbers that defaults and their readers share."""

from upwell.api.meta import ObjectReference

IMAGE_STREAM_TAG = "ImageStreamTag"
DOCKER_IMAGE = "DockerImage"
_STREAMS = {"ImageStream", "ImageRepository"}
"""Kinds by which manifests of OpenShift's first versions name a stream."""


def with_tag(reference: ObjectReference) -> ObjectReference:
    """Return a reference to an image; one to an ImageStream means its tag `latest`.

    An unnamed kind is an ImageStreamTag.
    """
    if reference.kind not in _STREAMS:
        return with_kind(reference)
    name = reference.name if ":" in reference.name else f"{reference.name}:latest"
    return reference.model_copy(update={"kind": IMAGE_STREAM_TAG, "name": name})


def with_kind(reference: ObjectReference) -> ObjectReference:
    """Return a reference to an image; an unnamed kind is an ImageStreamTag."""
    if reference.kind:
        return reference
    return reference.model_copy(update={"kind": IMAGE_STREAM_TAG})
