"""The port through which the internal registry learns what it may fetch from other registries."""

from dataclasses import dataclass
from typing import Protocol

from upwell.oci import Digest, Reference
from upwell.registry.interface import DEFAULT_ACCESS, RequestAccess


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an image of a stream comes from, and how that registry is asked."""

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
