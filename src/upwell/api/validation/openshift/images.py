"""Rules of ImageStreams, and of requests to import or tag images (image/v1)."""

from collections.abc import Iterator

from upwell.api.defaults import DOCKER_IMAGE, IMAGE_STREAM_TAG
from upwell.api.image import ImageStream, ImageStreamImport, ImportSpec, TagReference
from upwell.api.validation.openshift.references import (
    IMAGE_STREAM_IMAGE,
    pull_spec_problem,
    stream_name_problem,
)
from upwell.api.validation.waves import stream_wave_faults
from upwell.api.values.faults import Fault
from upwell.oci import Reference
from upwell.oci.reference import is_tag

_KINDS = (DOCKER_IMAGE, IMAGE_STREAM_IMAGE, IMAGE_STREAM_TAG)
_POLICIES = ("Source", "Local")
_ANY_IMAGE = "*"
"""As the name of an image to import: asks for nothing, as old clients do."""
_TAG_RULE = (
    "a tag has at most 128 letters, digits, '_', '.' and '-', and does not begin with '.' or '-'"
)
MAX_IMAGES = 200
"""Of one request to import: each is asked for in its registry."""
_MAX_NAME = 255
"""Characters of `namespace/name`, which is the name of a repository."""


def image_stream_faults(stream: ImageStream) -> Iterator[Fault]:
    """Yield every fault of a defaulted ImageStream."""
    if stream.name and (why := stream_name_problem(stream.name)):
        yield Fault.invalid("metadata.name", stream.name, why)
    if len(f"{stream.namespace}/{stream.name}") > _MAX_NAME:
        why = f"'namespace/name' cannot be longer than {_MAX_NAME} characters"
        yield Fault.invalid("metadata.name", stream.name, why)
    yield from _repository(stream.spec.docker_image_repository, "spec.dockerImageRepository")
    seen: set[str] = set()
    for at, tag in enumerate(stream.spec.tags):
        path = f"spec.tags[{at}]"
        if not tag.name:
            yield Fault.required(f"{path}.name", _TAG_RULE)
        elif not is_tag(tag.name):
            yield Fault.invalid(f"{path}.name", tag.name, _TAG_RULE)
        elif tag.name in seen:
            yield Fault.duplicate(f"{path}.name", tag.name)
        seen.add(tag.name)
        yield from tag_faults(tag, path)
    yield from stream_wave_faults(stream)


def tag_faults(tag: TagReference, path: str) -> Iterator[Fault]:
    """Yield what is wrong with the source and the policies of a tag."""
    source = tag.from_
    if source is not None:
        if source.kind not in _KINDS:
            yield Fault.required(f"{path}.from.kind", f"valid values are {', '.join(_KINDS)}")
        if not source.name:
            yield Fault.required(f"{path}.from.name")
        elif source.kind == DOCKER_IMAGE and (why := pull_spec_problem(source.name)):
            yield Fault.invalid(f"{path}.from.name", source.name, why)
        elif source.kind == IMAGE_STREAM_TAG and source.name.count(":") > 1:
            why = "must be of the form <tag> or <repo>:<tag>"
            yield Fault.invalid(f"{path}.from.name", source.name, why)
        if tag.scheduled and source.kind != DOCKER_IMAGE:
            why = f"only tags with from.kind {DOCKER_IMAGE} may be scheduled for background import"
            fault = Fault(f"{path}.importPolicy.scheduled", f"Invalid value: true: {why}")
            yield fault.following(f"{path}.from.kind")
    policy = tag.reference_policy.type
    if policy and policy not in _POLICIES:
        yield Fault.not_supported(f"{path}.referencePolicy.type", policy, _POLICIES)


def import_faults(wanted: ImageStreamImport) -> Iterator[Fault]:
    """Yield every fault of a request to import images."""
    spec = wanted.spec
    if not wanted.name:
        yield Fault.required("metadata.name", "the stream")
    elif why := stream_name_problem(wanted.name):
        yield Fault.invalid("metadata.name", wanted.name, why)
    if not spec.images and spec.repository is None:
        why = "you must specify at least one image or a repository import"
        yield Fault.invalid("spec.images", "", why)
    if len(spec.images) > MAX_IMAGES:
        yield Fault.too_many("spec.images", len(spec.images), MAX_IMAGES)
    for at, image in enumerate(spec.images):
        path = f"spec.images[{at}]"
        yield from _imported(image, path)
        if image.to is not None and not image.to.name:
            yield Fault.invalid(
                f"{path}.to.name", "", "the name of the target tag must be specified"
            )
        name = image.from_.name
        if name and name != _ANY_IMAGE and (why := pull_spec_problem(name)):
            yield Fault.invalid(f"{path}.from.name", name, why)
    if spec.repository is not None:
        yield from _imported(spec.repository, "spec.repository")
        yield from _repository(spec.repository.from_.name, "spec.repository.from.name")


def _imported(image: ImportSpec, path: str) -> Iterator[Fault]:
    if image.from_.kind != DOCKER_IMAGE:
        why = f"only {DOCKER_IMAGE} is supported"
        yield Fault.invalid(f"{path}.from.kind", image.from_.kind, why)
    if not image.from_.name:
        yield Fault.required(f"{path}.from.name")


def _repository(name: str | None, path: str) -> Iterator[Fault]:
    if not name:
        return
    if why := pull_spec_problem(name):
        yield Fault.invalid(path, name, why)
        return
    if Reference.parse(name).digest is not None:
        yield Fault.invalid(path, name, "the repository name may not contain a digest")
    if ":" in name.partition("@")[0].rpartition("/")[2]:
        yield Fault.invalid(path, name, "the repository name may not contain a tag")
