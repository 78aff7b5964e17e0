"""Copies of the images that builds take from outside."""

from typing import Protocol

from upwell.oci import Reference
from upwell.registry.interface import RequestAccess


class ImageMirror(Protocol):
    """Keeps copies of upstream images in the internal registry."""

    async def fetch(self, reference: Reference, access: RequestAccess, namespace: str) -> Reference:
        """Return an internal reference to the pinned image, which the namespace may read.

        Raises RegistryError.
        """
        ...
