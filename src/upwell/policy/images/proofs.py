"""Namespaces that may see what an Image says: those to which a registry has shown it; pure.

An Image stands for its digest, whoever has fetched it, and a digest can be claimed by anybody: by
an ImageStreamMapping, or by a registry of one's own that answers with it. So a stream shows what is
known of an image only where the image's registry has given it to the stream's own namespace, or to
whoever asks.
"""

from upwell.api.image import Image, ImageStream

PUBLIC_ANNOTATION = "upwell.dev/public"
"""On an Image that a registry has given without a login, with its configuration."""

DESCRIBED_ANNOTATION = "upwell.dev/described-in"
"""On an Image that a client has described (ImageStreamMapping): the namespace in which it did.
It is shown there, and nothing is decided by it; the first import of the digest takes its place."""

UNREAD_ANNOTATION = "upwell.dev/unread"
"""On an Image whose registry has not given its configuration. Another that has the digest may:
so whoever imports it asks anew, and nobody's registry decides what others know of an image."""


def is_public(image: Image) -> bool:
    """Return True if a registry gives the image to everybody."""
    return PUBLIC_ANNOTATION in image.annotations


def shows(stream: ImageStream, image: Image) -> bool:
    """Return True if the stream may show what is known of an image.

    Where that is a manifest alone, it is enough that a registry has given this.
    """
    if is_public(image) or image.annotations.get(DESCRIBED_ANNOTATION) == stream.namespace:
        return True
    if UNREAD_ANNOTATION in image.annotations and _has_manifest(stream, image.name):
        return True
    return has_proof(stream, image.name)


def has_proof(stream: ImageStream, digest: str) -> bool:
    """Return True if a tag has or had an image that its registry has given to the namespace.

    What was recorded before there was `unproven` counts as given: whoever could see a digest could
    read its Image then.
    """
    events = (event for history in stream.status.tags for event in history.items)
    return any(event.image == digest and not event.unproven for event in events)


def _has_manifest(stream: ImageStream, digest: str) -> bool:
    states = (history.import_state for history in stream.status.tags)
    return any(state is not None and state.imported_digest == digest for state in states)
