"""Tags of `spec.dockerImageRepository` that are imported, and as what."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from upwell.api.image import ImageStream, ImportPolicy, TagReference
from upwell.api.meta import ObjectReference
from upwell.formats.attachment_tags import image_of_tag
from upwell.oci import InvalidReferenceError, Reference
from upwell.oci.registry_prefix import repository_in
from upwell.policy.images.versions import Version, natural_key

MAX_BULK_TAGS = 50
"""Most tags of a repository to import; OpenShift's maxImagesBulkImportedPerRepository."""
INSECURE_ANNOTATION = "openshift.io/image.insecureRepository"
GENERATION_ANNOTATION = "upwell.dev/repository-generation"
"""Raised by whoever wants the whole repository to be listed and imported now."""

_MINOR = 2
_COUNT = re.compile(r"[0-9]{1,15}")


def by_priority(tags: Iterable[str]) -> list[str]:
    """Return the tags in the order in which they matter.

    `latest`; minor versions such as `5.1`, newest first; full versions, newest first; the rest by
    name.
    """
    groups: tuple[list[str], list[str], list[str], list[str]] = ([], [], [], [])
    versions: dict[str, Version] = {}
    for tag in set(tags):
        version = Version.parse(tag)
        if tag == "latest":
            groups[0].append(tag)
        elif version is not None and len(version.numbers) >= _MINOR:
            versions[tag] = version
            groups[2 if version.is_full else 1].append(tag)
        else:
            groups[3].append(tag)
    for group in groups[1:3]:
        group.sort(key=lambda tag: (versions[tag], natural_key(tag)), reverse=True)
    return [*groups[0], *groups[1], *groups[2], *sorted(groups[3])]


@dataclass(frozen=True, slots=True)
class BulkPlan:
    """Tags of a repository to import, and those only known by name; both by priority."""

    imported: tuple[str, ...]
    additional: tuple[str, ...]


def plan_bulk_import(
    present: Iterable[str], before: Sequence[str], limit: int = MAX_BULK_TAGS
) -> BulkPlan:
    """Return what to import of a repository that has the tags `present`.

    The first `limit` tags by priority, those of signatures left out; what was imported `before`
    stays while it is present.
    """
    ordered = by_priority(tag for tag in present if image_of_tag(tag) is None)
    wanted = {*ordered[:limit], *before}
    return BulkPlan(
        tuple(tag for tag in ordered if tag in wanted),
        tuple(tag for tag in ordered if tag not in wanted),
    )


def bulk_source(stream: ImageStream, prefix: str) -> str | None:
    """Return the repository that the stream imports as a whole; None when there is none.

    A repository of the internal registry, below `prefix`, is where images are pushed to, not
    imported from.
    """
    text = stream.spec.docker_image_repository
    if not text:
        return None
    try:
        reference = Reference.parse(text)
    except InvalidReferenceError:
        return text  # the import says what is wrong with it
    return None if repository_in(reference, prefix) is not None else text


def is_insecure(stream: ImageStream) -> bool:
    """Return True if the repository may be asked over plain HTTP or without valid TLS."""
    return stream.annotations.get(INSECURE_ANNOTATION) == "true"


def repository_generation(annotations: Mapping[str, str]) -> int:
    """Return how often the import of a stream's whole repository was asked for."""
    text = annotations.get(GENERATION_ANNOTATION, "")
    return int(text) if _COUNT.fullmatch(text) else 0


def effective_tags(stream: ImageStream) -> tuple[TagReference, ...]:
    """Return the stream's tags: those declared, then those that its repository has besides.

    A declared tag without a source of its own gets the repository's, and keeps its annotations.
    """
    repository = stream.status.repository
    source = stream.spec.docker_image_repository
    found = {tag.name: tag for tag in stream.spec.tags}
    if repository is None or not source or repository.source != source:
        return tuple(found.values())
    for name in repository.tags:
        declared = found.get(name)
        if declared is None or declared.from_ is None:
            found[name] = implied_tag(declared or TagReference(name=name), stream, source)
    return tuple(found.values())


def has_tag(stream: ImageStream, name: str) -> bool:
    """Return True if a stream has a tag: declared, or with an image."""
    declared = any(tag.name == name for tag in effective_tags(stream))
    return declared or stream.status.tag(name) is not None


def implied_tag(tag: TagReference, stream: ImageStream, source: str) -> TagReference:
    """Return the import of one tag of the repository; it is repeated, as discovery is."""
    asked = max(tag.generation or 0, repository_generation(stream.annotations))
    policy = (tag.import_policy or ImportPolicy()).model_copy(
        update={"scheduled": True, "insecure": is_insecure(stream) or tag.insecure}
    )
    upstream = ObjectReference(kind="DockerImage", name=f"{source}:{tag.name}")
    return tag.model_copy(
        update={"from_": upstream, "import_policy": policy, "generation": asked or None}
    )
