"""Images that builds take, where no registry of this server keeps copies of them."""

from upwell.oci import Platform, Reference
from upwell.registry.interface import Registry, RequestAccess
from upwell.registry.mirror import platform_manifest


class Uncopied:
    """Images that builds take, where they are: no copy is kept. Implements ImageMirror."""

    def __init__(self, registry: Registry, platform: Platform) -> None:
        self._registry = registry
        self._platform = platform

    async def fetch(self, reference: Reference, access: RequestAccess, namespace: str) -> Reference:
        """Return the reference to our platform's image; raises a RegistryError."""
        del namespace  # whose logins `access` has
        found = await platform_manifest(self._registry, reference, access, self._platform)
        return reference.with_digest(found.digest)
