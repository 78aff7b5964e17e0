"""The port through which the internal registry learns what it may fetch from other registries."""

from dataclasses import dataclass
from typing import Protocol

from upwell.oci import Digest, Reference
from upwell.registry.interface import DEFAULT_ACCESS, RequestAccess


@dataclass(frozen=True, slots=True)
class Origin:
    """Origin of an image of a stream, and the access to that registry."""

    reference: Reference
    access: RequestAccess = DEFAULT_ACCESS


class ImageOrigins(Protocol):
    """Knows which images a repository has by its ImageStream; another repository has none."""

    async def digest(self, repository: str, tag: str) -> Digest | None:
        """Return the image that the tag stands for now."""
        ...

    async def find(self, repository: str, digest: Digest) -> Origin | None:
        """Return the origin of an image that one of the tags has or had."""
        ...
