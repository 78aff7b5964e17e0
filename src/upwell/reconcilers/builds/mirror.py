"""Copies of the images that builds take from outside, where there are copies."""

from typing import Protocol

from upwell.oci import Reference
from upwell.registry.interface import RequestAccess


class ImageMirror(Protocol):
    """Finds the images that builds pull: copies of upstream's in the embedded registry, if any."""

    async def fetch(self, reference: Reference, access: RequestAccess, namespace: str) -> Reference:
        """Return a reference to the pinned image of our platform, which the namespace may read.

        Raises RegistryError.
        """
        ...
