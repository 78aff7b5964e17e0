"""Scopes of image policies, and the names by which they know an image.

A scope is a registry, a repository or the beginning of its path, an image by its digest, all
registries of a domain (`*.example.com`), or everything (`*`). The longest scope counts, as in
containers-policy.json(5).
"""

import re
from dataclasses import dataclass

from upwell.api.image_policies.policy import Enforcement, ImagePolicySpec, PolicyPoint
from upwell.oci import Digest, InvalidReferenceError, Reference
from upwell.oci.copies import store_of
from upwell.oci.registry_names import OPENSHIFT_NAME, canonical_name

EVERY_IMAGE = "*"
_DOMAIN = "*."
_MIRROR = "upstream/"
_PORT = re.compile(r"(.+)-([0-9]{1,5})", re.ASCII)
_WILDCARD = re.compile(r"\*\.[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?", re.ASCII)
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(?::[0-9]{1,5})?", re.ASCII)


@dataclass(frozen=True, slots=True)
class JudgedImage:
    """An image by its digest, and each name (`registry/repository`) that it goes by."""

    names: tuple[str, ...]
    """The one that an object gives it stands first."""
    digest: Digest

    def __str__(self) -> str:
        return f"{self.names[0]}@{self.digest}"


def judged_image(
    reference: Reference, digest: Digest, internal: str, origin: Reference | None = None
) -> JudgedImage:
    """Return the image that a reference names; `internal` is the internal registry's `host:port`.

    The internal registry has copies of other registries' images, and streams whose images have an
    `origin` elsewhere: they have the names of those too.
    """
    names = [reference.name, *([origin.name] if origin is not None else [])]
    if is_registry(reference, internal):
        names.append(f"{OPENSHIFT_NAME}/{reference.repository}")
        names += _mirrored_names(reference.repository)
    return JudgedImage(tuple(map(canonical_name, names)), digest)


def is_registry(reference: Reference, host: str) -> bool:
    """Return True if an image lies in the registry `host`, however its name is spelt."""
    return bool(host) and canonical_name(reference.registry) == canonical_name(host)


def _mirrored_names(repository: str) -> list[str]:
    """Return the names that a repository of the mirror may stand for: it writes `:` as `-`."""
    if not repository.startswith(_MIRROR):
        return []
    host, slash, path = store_of(repository).removeprefix(_MIRROR).partition("/")
    if not slash:
        return []
    with_port = _PORT.fullmatch(host)
    hosts = [host, *([f"{with_port[1]}:{with_port[2]}"] if with_port else [])]
    return [f"{one}/{path}" for one in hosts]


def weight(scope: str, name: str, digest: Digest) -> int | None:
    """Return how closely a scope is about a name of an image, the more the closer.

    None: it is not about it.
    """
    if scope == EVERY_IMAGE:
        return 0
    if scope.startswith(_DOMAIN):
        host = name.partition("/")[0].partition(":")[0]
        return len(scope) if host.endswith(scope.removeprefix("*")) else None
    known = canonical_name(scope)
    found = any(
        text == known or text.startswith(f"{known}/") for text in (name, f"{name}@{digest}")
    )
    # Whatever names a registry is closer than what names a domain.
    return len(known) + _BEYOND_DOMAINS if found else None


_BEYOND_DOMAINS = 1000


def closest(spec: ImagePolicySpec, name: str, digest: Digest) -> int | None:
    """Return the weight of the closest of a policy's scopes; None: it is not about the name."""
    weights = (weight(scope, name, digest) for scope in spec.scopes)
    return max((one for one in weights if one is not None), default=None)


def holds_at(enforcement: Enforcement, point: PolicyPoint, stage: str) -> bool:
    """Return True if a policy judges at a point; `stage` is that of a promotion."""
    if enforcement.at and point not in enforcement.at:
        return False
    if point is PolicyPoint.PROMOTION and enforcement.stages:
        return stage in enforcement.stages
    return True


def scope_fault(scope: str) -> str:
    """Say why a text is no scope; empty: it is one."""
    if scope == EVERY_IMAGE or _WILDCARD.fullmatch(scope) is not None:
        return ""
    if _HOST.fullmatch(scope) is not None:
        return "" if _is_host(scope) else f"{scope!r} is no registry: write the whole name"
    try:
        reference = Reference.parse(scope)
    except InvalidReferenceError as error:
        return error.why
    if not _is_host(scope.partition("/")[0]):
        return f"{scope!r} names no registry: write {reference.name!r}"
    if reference.tag is not None and scope.rpartition("/")[2].count(":"):
        return f"images are judged by their digest: write {reference.name!r} without the tag"
    return ""


def _is_host(text: str) -> bool:
    return "." in text or ":" in text or text == "localhost"
