"""References of OpenShift's objects: to images, tags of streams, Secrets."""

import re
from collections.abc import Iterator

from upwell.api.defaults import DOCKER_IMAGE, IMAGE_STREAM_TAG
from upwell.api.meta import LocalReference, ObjectReference
from upwell.api.validation.formats import subdomain_problem
from upwell.api.values.faults import Fault
from upwell.oci import InvalidReferenceError, Reference

IMAGE_STREAM_IMAGE = "ImageStreamImage"
_STREAM = re.compile(r"[a-z0-9]+(?:[._-][a-z0-9]+)*")


def stream_name_problem(name: str) -> str:
    """Check the name of an ImageStream, which is part of the names of its images."""
    if _STREAM.fullmatch(name) is None:
        return f"must match {_STREAM.pattern.replace('?:', '')!r}"
    return ""


def image_faults(reference: ObjectReference, path: str) -> Iterator[Fault]:
    """Yield what is wrong with a reference to an image."""
    for fault in _of_its_kind(reference, path):
        yield fault.following(f"{path}.kind")


def _of_its_kind(reference: ObjectReference, path: str) -> Iterator[Fault]:
    match reference.kind:
        case "ImageStreamTag":
            yield from stream_tag_faults(reference, path)
        case "ImageStreamImage":
            yield from _stream_image(reference, path)
        case "DockerImage":
            yield from _pull_spec(reference, path)
        case "":
            yield Fault.required(f"{path}.kind")
        case _:
            why = f"must be '{IMAGE_STREAM_TAG}', '{IMAGE_STREAM_IMAGE}', or '{DOCKER_IMAGE}'"
            yield Fault.invalid(f"{path}.kind", reference.kind, why)


def output_faults(reference: ObjectReference, path: str) -> Iterator[Fault]:
    """Yield what is wrong with the target of a build's result."""
    if reference.kind not in {IMAGE_STREAM_TAG, DOCKER_IMAGE}:
        why = f"the target of build output must be an '{IMAGE_STREAM_TAG}' or '{DOCKER_IMAGE}'"
        yield Fault.invalid(f"{path}.kind", reference.kind, why)
        return
    yield from image_faults(reference, path)


def stream_tag_faults(reference: ObjectReference, path: str) -> Iterator[Fault]:
    """Yield what is wrong with the name and namespace of a reference to an ImageStreamTag."""
    stream, colon, _ = reference.name.partition(":")
    if not reference.name:
        yield Fault.required(f"{path}.name")
    elif not colon:
        yield Fault.invalid(f"{path}.name", reference.name, "must be <name>:<tag>")
    elif why := stream_name_problem(stream):
        yield Fault.invalid(f"{path}.name", reference.name, f"invalid name syntax: {why}")
    yield from _namespace(reference, path)


def pull_spec_problem(text: str) -> str:
    """Check what names an image in a registry."""
    try:
        Reference.parse(text)
    except InvalidReferenceError as error:
        return f"not a valid pull specification: {error}"
    return ""


def secret_faults(reference: LocalReference | None, path: str) -> Iterator[Fault]:
    """Yield what is wrong with a reference to a Secret, if there is one."""
    if reference is not None and not reference.name:
        yield Fault.required(f"{path}.name")


def _stream_image(reference: ObjectReference, path: str) -> Iterator[Fault]:
    if not reference.name:
        yield Fault.required(f"{path}.name")
    elif "@" not in reference.name:
        yield Fault.invalid(f"{path}.name", reference.name, "must be <name>@<digest>")
    yield from _namespace(reference, path)


def _pull_spec(reference: ObjectReference, path: str) -> Iterator[Fault]:
    if reference.namespace:
        why = f"not valid when used with a '{DOCKER_IMAGE}'"
        yield Fault.invalid(f"{path}.namespace", reference.namespace, why)
    if not reference.name:
        yield Fault.required(f"{path}.name")
    elif why := pull_spec_problem(reference.name):
        yield Fault.invalid(f"{path}.name", reference.name, why)


def _namespace(reference: ObjectReference, path: str) -> Iterator[Fault]:
    if reference.namespace and (why := subdomain_problem(reference.namespace)):
        yield Fault.invalid(f"{path}.namespace", reference.namespace, why)
