"""Images as Podman lists them (libpod API, "list images" and "inspect image")."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from upwell.oci import Digest, InvalidReferenceError, Reference

LOCAL = "localhost"
"""Podman's own name for what was built or loaded on this machine: no registry has it."""


def is_own(image: Reference) -> bool:
    """Return True if an image is of this machine's own, by its digest."""
    return image.registry == LOCAL and image.digest is not None


def formerly_named(listed: Iterable[Mapping[str, Any]], image: Reference) -> str:
    """Return the id of an image that had a name of the same repository; empty: none had.

    That it has the digest is not enough: all that was ever pulled is listed, for whomever.
    """
    for document in listed:
        if str(document.get("Digest") or "") != str(image.digest):
            continue
        if image.name in {one.name for one in _parsed(document.get("History") or ())}:
            return str(document["Id"])
    return ""


def digest_names(document: Mapping[str, Any]) -> list[Reference]:
    """Return all `name@digest` of an image: of an index's, and of its manifest's digest."""
    return [*_parsed(document.get("RepoDigests") or ())]


def digests_of(document: Mapping[str, Any], name: Reference) -> frozenset[Digest]:
    """Return all digests that an image is known by, that of its `name` among them."""
    found = {name.digest, *(one.digest for one in digest_names(document))}
    return frozenset(digest for digest in found if digest is not None)


def names_of(document: Mapping[str, Any]) -> Sequence[str]:
    """Return all names that an image has in the storage, as Podman spells them."""
    return [str(name) for name in document.get("Names") or ()]


def has_containers(document: Mapping[str, Any]) -> bool:
    """Return True unless an image is known to be of no container, whoever made it."""
    return bool(document.get("Containers") != 0)


def _parsed(names: Iterable[object]) -> Iterator[Reference]:
    for name in names:
        try:
            yield Reference.parse(str(name))
        except InvalidReferenceError:
            continue
