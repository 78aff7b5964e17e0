"""Stream tag that follows an image for `new-app`, and the tag to declare for it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from upwell.api.defaults import DOCKER_IMAGE, IMAGE_STREAM_TAG
from upwell.api.image import ImageStream, ImageStreamSpec, ImportPolicy, TagReference
from upwell.api.meta import ObjectMeta, ObjectReference
from upwell.oci import InvalidReferenceError, Reference
from upwell.policy.images.streams import StreamTag
from upwell.policy.new_app.components import NewAppError, image_reference

LAST_APPLIED_ANNOTATION = "kubectl.kubernetes.io/last-applied-configuration"
"""kubectl's own note of what it applied."""
_LATEST = "latest"


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """Options for the import of images that no stream imports yet."""

    scheduled: bool = True
    insecure: bool = False


@dataclass(frozen=True, slots=True)
class FollowedImage:
    """A stream tag to build or run from."""

    stream: str
    tag: str
    declared: ImageStream | None = None
    """The stream as it must be applied; None when the tag is there already."""
    imports: str = ""
    """The upstream image that `declared` imports."""

    @property
    def stream_tag(self) -> str:
        """`stream:tag`."""
        return f"{self.stream}:{self.tag}"

    @property
    def reference(self) -> ObjectReference:
        """Reference by which a strategy or a trigger names it."""
        return ObjectReference(kind=IMAGE_STREAM_TAG, name=self.stream_tag)


def follow(image: str, streams: Mapping[str, ImageStream], options: ImportOptions) -> FollowedImage:
    """Return the tag that follows `image`; `streams` are the namespace's own, by name.

    A bare `NAME[:TAG]` of an existing stream is that tag. Any other image is imported, into a
    stream named like its repository; one that exists gets the tag besides its own.
    Raises NewAppError.
    """
    if names_tag(image, streams):
        named = StreamTag.named(image, "")
        return FollowedImage(named.stream, named.tag)
    reference = image_reference(image)
    return _imported(image, reference, streams, options)


def names_tag(image: str, streams: Mapping[str, ImageStream]) -> bool:
    """Return True if `image` is the `NAME[:TAG]` of a tag that one of the streams has."""
    named = StreamTag.named(image, "")
    return named.stream in streams and _has(streams[named.stream], named.tag)


def _imported(
    image: str, reference: Reference, streams: Mapping[str, ImageStream], options: ImportOptions
) -> FollowedImage:
    name = re.sub(r"[^a-z0-9.]+", "-", reference.repository.rpartition("/")[2])
    tag = reference.tag or _LATEST
    stream = streams.get(name)
    if stream is not None and _has(stream, tag):
        if _imports(stream, tag, reference):
            return FollowedImage(name, tag)
        raise NewAppError(
            f"imagestream/{name} has a tag {tag} already, and it is not {reference}: use"
            f" `{name}:{tag}` if it will do, or tag the image under another name first"
        )
    new = TagReference(
        name=tag,
        from_=ObjectReference(kind=DOCKER_IMAGE, name=image),
        import_policy=ImportPolicy(
            # A digest never names anything else: there is nothing to look for.
            scheduled=True if options.scheduled and reference.digest is None else None,
            insecure=True if options.insecure else None,
        ),
    )
    return FollowedImage(name, tag, _with_tag(name, stream, new), image)


def _with_tag(name: str, stream: ImageStream | None, new: TagReference) -> ImageStream:
    """Return the stream with one more tag.

    Everything that users wrote is in it: what an apply leaves out, it takes away.
    """
    if stream is None:
        return ImageStream(metadata=ObjectMeta(name=name), spec=ImageStreamSpec(tags=(new,)))
    kept = tuple(tag.model_copy(update={"generation": None}) for tag in stream.spec.tags)
    annotations = {
        key: value for key, value in stream.annotations.items() if key != LAST_APPLIED_ANNOTATION
    }
    metadata = ObjectMeta(name=name, labels=stream.metadata.labels, annotations=annotations)
    spec = stream.spec.model_copy(update={"tags": (*kept, new)})
    return ImageStream(metadata=metadata, spec=spec)


def _has(stream: ImageStream, tag: str) -> bool:
    return stream.status.tag(tag) is not None or any(t.name == tag for t in stream.spec.tags)


def _imports(stream: ImageStream, tag: str, reference: Reference) -> bool:
    for declared in stream.spec.tags:
        if declared.name == tag and declared.imports:
            try:
                return Reference.parse(declared.imports) == reference
            except InvalidReferenceError:
                return False
    return False
