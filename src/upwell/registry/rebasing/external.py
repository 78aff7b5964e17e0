"""Writes rebased images of builds into a registry elsewhere."""

from upwell.oci import Digest, Reference
from upwell.oci.rebase.placing import PlacedImage, RebaseTarget, WrittenBlobs
from upwell.oci.registry_prefix import repository_in
from upwell.registry.client.push import RegistryPusher
from upwell.registry.interface import DEFAULT_ACCESS, InternalRegistry, RequestAccess
from upwell.registry.rebasing.writing import RebaseWriter


class ExternalRebaseWriter:
    """Writer of rebased images; cut off at any time, no tag names what is not whole."""

    def __init__(self, internal: InternalRegistry, pusher: RegistryPusher) -> None:
        self._internal = internal
        self._pusher = pusher

    async def write(
        self, placed: PlacedImage, target: Reference, access: RequestAccess = DEFAULT_ACCESS
    ) -> WrittenBlobs:
        """Write an image under the tag of `target`; raises a RegistryError."""
        writer = RebaseWriter(self._internal, self._pusher, access)
        return await writer.write([placed], [], None, RebaseTarget(target))

    async def keep(
        self, target: Reference, digest: Digest, access: RequestAccess = DEFAULT_ACCESS
    ) -> None:
        """Give an image that is there the tag of `target`; raises a RegistryError."""
        repository = repository_in(target, self._internal.prefix)
        if repository is not None and target.tag is not None:
            await self._internal.tag(repository, target.tag, digest, access)
