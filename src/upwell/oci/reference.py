"""Image references (OCI distribution-spec, section Pulling manifests; Docker's short names)."""

import re
from dataclasses import dataclass, replace
from typing import Self

from upwell.oci.digest import Digest, InvalidDigestError
from upwell.oci.registry_names import DOCKER_HUB, canonical_place

MAX_REPOSITORY_LENGTH = 255
MAX_TAG_LENGTH = 128

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_SCHEME = re.compile(r"[a-z]+://", re.IGNORECASE)
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")


class InvalidReferenceError(ValueError):
    """The text names no image."""

    def __init__(self, text: str, why: str) -> None:
        super().__init__(
            f"not an image reference: {text!r}: {why}"
            " (expected [REGISTRY/]REPOSITORY[:TAG][@sha256:HEX])"
        )
        self.text = text
        self.why = why


@dataclass(frozen=True, slots=True)
class Reference:
    """`registry/repository[:tag][@digest]`; with neither tag nor digest, the tag is `latest`."""

    registry: str
    repository: str
    tag: str | None = None
    digest: Digest | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse `text`, completing Docker's short names; raises InvalidReferenceError.

        `debian` becomes `docker.io/library/debian:latest`, as every client does. A registry has one
        spelling here, and the own one has one name (`registry_names`).
        """
        if scheme := _SCHEME.match(text):
            raise InvalidReferenceError(text, f"an image has no scheme: leave out {scheme[0]}")
        rest, at, digest_text = text.partition("@")
        digest = _digest(text, digest_text) if at else None
        head, slash, tail = rest.partition("/")
        if slash and ("." in head or ":" in head or head == "localhost" or head.startswith("[")):
            registry, path = head, tail
        else:
            registry, path = DOCKER_HUB, rest
        path, colon, tag = path.partition(":")
        try:
            registry, path = canonical_place(registry, path)
        except ValueError as error:
            raise InvalidReferenceError(text, str(error)) from error
        if registry == DOCKER_HUB and "/" not in path:
            path = f"library/{path}"
        if _REPOSITORY.fullmatch(path) is None:
            raise InvalidReferenceError(text, f"the repository {path!r} {_why_none(path)}")
        if len(path) > MAX_REPOSITORY_LENGTH:
            raise InvalidReferenceError(text, f"over {MAX_REPOSITORY_LENGTH} characters")
        if colon and _TAG.fullmatch(tag) is None:
            raise InvalidReferenceError(text, f"the tag {tag!r} has a wrong character")
        if not colon and digest is None:
            tag = "latest"
        return cls(registry, path, tag or None, digest)

    @property
    def target(self) -> str:
        """Target of a manifest request: the digest when there is one, else the tag."""
        if self.digest is not None:
            return str(self.digest)
        return self.tag or "latest"

    @property
    def name(self) -> str:
        """`registry/repository`, without tag and digest."""
        return f"{self.registry}/{self.repository}"

    @property
    def exact(self) -> Self:
        """This image by its digest alone, where it has one: a tag beside that says nothing."""
        return replace(self, tag=None) if self.digest else self

    def with_digest(self, digest: Digest) -> Self:
        """Return this repository at `digest`, without a tag: what builds and rollouts name."""
        return type(self)(self.registry, self.repository, digest=digest)

    def with_tag(self, tag: str) -> Self:
        """Return this repository at `tag`; raises InvalidReferenceError."""
        return type(self).parse(f"{self.name}:{tag}")

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.name}{tag}{digest}"


def is_tag(text: str) -> bool:
    """Return True if `text` may be a tag."""
    return _TAG.fullmatch(text) is not None


def is_repository(text: str) -> bool:
    """Return True if `text` may be a repository name."""
    return len(text) <= MAX_REPOSITORY_LENGTH and _REPOSITORY.fullmatch(text) is not None


def _why_none(repository: str) -> str:
    """Return why a text is no repository."""
    if repository != repository.lower():
        return "has capitals: repositories are in small letters"
    return "has a wrong character"


def _digest(text: str, digest_text: str) -> Digest:
    try:
        return Digest.parse(digest_text)
    except InvalidDigestError as error:
        raise InvalidReferenceError(text, f"{digest_text!r} is not a digest") from error
