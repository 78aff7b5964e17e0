"""Writes rebased images of builds into registries that are not the server's own."""

from upwell.oci import Digest, Reference
from upwell.oci.rebase.placing import PlacedImage, RebaseTarget, WrittenBlobs
from upwell.oci.registry_prefix import repository_in
from upwell.registry.client.push import RegistryPusher
from upwell.registry.errors import ManifestUnknownError
from upwell.registry.interface import Registry, RequestAccess
from upwell.registry.rebasing.writing import RebaseWriter


class RebasesElsewhereWriter:
    """Writer of rebased images; cut off at any time, no tag names what is not whole.

    `registry` has the layers of the base too, and images of the server's own begin with `prefix`.
    """

    def __init__(self, registry: Registry, pusher: RegistryPusher, prefix: str) -> None:
        self._registry = registry
        self._pusher = pusher
        self._prefix = prefix

    def is_own(self, image: Reference) -> bool:
        """Return True for an image of the server's own registry."""
        return repository_in(image, self._prefix) is not None

    async def tagged(self, tag: Reference, access: RequestAccess) -> Digest | None:
        """Return what a tag names, None if nothing; raises a RegistryError."""
        try:
            return (await self._registry.resolve(tag, access)).digest
        except ManifestUnknownError:
            return None

    async def write(
        self, placed: PlacedImage, target: RebaseTarget, access: RequestAccess
    ) -> WrittenBlobs:
        """Write an image under a tag that names what it has to until then; raises a RegistryError.

        Layers that the registry will not mount are sent.
        """
        writer = RebaseWriter(self._registry, self._pusher, access)
        return await writer.write([placed], [], None, target)
