"""The images that a build takes from outside: which, what streams say of them, and their pins."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from upwell.api.builds.build import Build, ResolvedImage
from upwell.api.defaults import DOCKER_IMAGE
from upwell.api.image import ImageStream, TagReference
from upwell.api.meta import LocalReference, ObjectReference
from upwell.formats.dockerfile.parse import SCRATCH, Dockerfile
from upwell.oci import Reference
from upwell.policy.builds.triggers import SPEC_IMAGE_PREFIX, Streams
from upwell.policy.images.names import ImageNames
from upwell.policy.images.repository_tags import effective_tags
from upwell.policy.images.streams import StreamTag, resolve_tag

BUILDER_IMAGE = "builder"
"""The name of a Source or Custom build's builder image in its plan."""
FINAL_IMAGE = f"{SPEC_IMAGE_PREFIX}strategy.from"
"""The name of the image that takes the place of a Dockerfile's last FROM."""


@dataclass(frozen=True, slots=True)
class NamedImage:
    """An image that a build names."""

    name: str
    """In the build's plan; those that the spec names have a `spec.` before."""
    reference: ObjectReference
    final: bool = False
    """True if the result stands on it."""
    pull_secret: LocalReference | None = None
    """The login for it, where the strategy's is not meant."""


@dataclass(frozen=True, slots=True)
class BuildImages:
    """The external images of a build, resolved."""

    resolved: tuple[ResolvedImage, ...] = ()
    base_name: str = ""
    """Name that the base's digest was resolved from: `registry/repository:tag`, if known."""

    def references(self) -> dict[str, Reference]:
        """Return the pins by name."""
        return {image.name: Reference.parse(image.reference) for image in self.resolved}

    def pins(self) -> dict[str, str]:
        """Return the pins as text."""
        return {image.name: image.reference for image in self.resolved}

    @property
    def base(self) -> Reference | None:
        """The image that the result stands on."""
        final = _final(self.resolved)
        return Reference.parse(final.reference) if final else None


def named_images(build: Build, dockerfile: Dockerfile | None) -> Iterator[NamedImage]:
    """Yield every image that `build` takes from outside; `dockerfile` is a Docker build's."""
    base = build.spec.strategy.base
    if dockerfile is not None:
        yield from _dockerfile_images(build, dockerfile)
    elif base is not None:
        yield NamedImage(BUILDER_IMAGE, base, final=True)
    for at, image in enumerate(build.spec.source.images):
        yield NamedImage(source_image_name(at), image.from_, pull_secret=image.pull_secret)


def source_image_name(at: int) -> str:
    """Return the name under which `spec.source.images[at]` is resolved."""
    return f"{SPEC_IMAGE_PREFIX}source.images[{at}]"


def pull_secrets_of(build: Build) -> dict[str, LocalReference]:
    """Return the pull secrets that images of the source have of their own, by image name."""
    return {
        source_image_name(at): image.pull_secret
        for at, image in enumerate(build.spec.source.images)
        if image.pull_secret is not None
    }


def inputs_of(build: Build) -> dict[StreamTag, str]:
    """Return the pull specs that a build was made for, by the tags that named them."""
    return {StreamTag.of(one.from_, build.namespace): one.image for one in build.spec.image_inputs}


@dataclass(frozen=True, slots=True)
class KnownPin:
    """A pull spec with digest that the build, or a stream, has for an image."""

    image: str
    tag: StreamTag | None = None
    """Tag that tracks it."""
    anew: bool = False
    """It is what the tag names now, and not what the build was made for."""


def known_pin(build: Build, image: str, streams: Streams, names: ImageNames) -> KnownPin | None:
    """Return the pin of `image`: what the build was made for, or what its tag names now.

    None when only the image's registry knows it. `names` are those of the streams. Raises
    InvalidReferenceError.
    """
    inputs = inputs_of(build)
    for tag, pinned in inputs.items():
        if pinned == image:
            return KnownPin(image, tag)
    reference = Reference.parse(image)
    if reference.digest is not None:
        return KnownPin(str(reference))
    keeper = names.keeper(image, build.namespace)
    if keeper is None:
        return None
    if keeper in inputs:
        return KnownPin(inputs[keeper], keeper)
    stream = streams.get(keeper.stream_name)
    found = resolve_tag(stream, keeper.tag) if stream is not None else None
    return KnownPin(found, keeper, anew=True) if found is not None else None


def base_name(images: Iterable[ResolvedImage], streams: Streams, prefix: str) -> str:
    """Return the tag behind the base's digest, for org.opencontainers.image.base.name.

    `prefix` begins the names of the internal registry's images.
    """
    final = _final(images)
    if final is None:
        return ""
    if final.stream_tag is None:
        return str(Reference.parse(final.reference)).partition("@")[0]
    tag = StreamTag.parse(final.stream_tag)
    stream = streams.get(tag.stream_name)
    if stream is None:
        return ""
    declared = _declared(stream, tag)
    if declared is not None and declared.imports:
        return str(Reference.parse(declared.imports))
    return f"{prefix}/{tag}"


def insecure_by_tag(images: Iterable[ResolvedImage], streams: Streams) -> frozenset[str]:
    """Return the registries of images whose stream tags say that they need no valid TLS."""
    found = set()
    for image in images:
        tag = StreamTag.parse(image.stream_tag or "")
        stream = streams.get(tag.stream_name)
        effective = effective_tags(stream) if stream is not None else ()
        if any(one.name == tag.tag and one.insecure for one in effective):
            found.add(Reference.parse(image.reference).registry)
    return frozenset(found)


def _dockerfile_images(build: Build, dockerfile: Dockerfile) -> Iterator[NamedImage]:
    """Yield what a Dockerfile takes from outside; `as` names of source images are inside."""
    base, stage = build.spec.strategy.base, dockerfile.stages[-1]
    if base is not None and (base.kind, base.name, stage.base) == (DOCKER_IMAGE, SCRATCH, SCRATCH):
        base = None  # `oc new-build` repeats the last FROM, and this one names no image
    inside = {name for image in build.spec.source.images for name in image.as_}
    last = stage.image
    # The strategy's image takes the last FROM's place, and no other's (build/v1).
    uses = [use for use in dockerfile.uses if base is None or use.start != last.start]
    for name in dict.fromkeys(use.name for use in uses):
        if name not in inside:
            reference = ObjectReference(kind=DOCKER_IMAGE, name=name)
            final = base is None and name == dockerfile.final_base
            yield NamedImage(name, reference, final=final)
    if base is not None:
        yield NamedImage(FINAL_IMAGE, base, final=True)


def _final(images: Iterable[ResolvedImage]) -> ResolvedImage | None:
    return next((image for image in images if image.final), None)


def _declared(stream: ImageStream, tag: StreamTag) -> TagReference | None:
    return next((one for one in stream.spec.tags if one.name == tag.tag), None)
