"""Writes rebased images into the registry of this process: content by links, the tag last."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress

from upwell.oci import Descriptor, Digest, Reference
from upwell.oci.rebase.placing import PlacedImage, WrittenBlobs
from upwell.registry.announced import announced
from upwell.registry.errors import BlobUnknownError
from upwell.registry.hosting import HostedRegistry, ManifestPush, UploadUnknownError
from upwell.registry.interface import DEFAULT_ACCESS, RequestAccess

type CheckPush = Callable[[ManifestPush], Awaitable[None]]
"""Raises for a manifest that may not be stored, all content of which is there."""

_ACTOR = "builder"


async def unchecked(_push: ManifestPush) -> None:
    """Allow every manifest."""


class HostedRebaseWriter:
    """Writer of rebased images; cut off at any time, no tag names what is not whole."""

    def __init__(self, hosted: HostedRegistry, check: CheckPush = unchecked) -> None:
        self._hosted = hosted
        self._check = check

    async def write(
        self, placed: PlacedImage, target: Reference, access: RequestAccess = DEFAULT_ACCESS
    ) -> WrittenBlobs:
        """Write an image under the tag of `target`.

        Its layers are in repositories of this registry. Raises a RegistryError, or what the check
        raises.
        """
        del access  # in process, nobody has to log in
        blobs = WrittenBlobs()
        sources = {
            **{layer.digest: (layer, placed.base) for layer in placed.base_layers},
            **{layer.digest: (layer, placed.source) for layer in placed.own_layers},
        }
        for layer, source in sources.values():
            await self._bring(layer, source, target.repository, blobs)
        manifest = placed.manifest
        await self._put_config(manifest.config, placed.config, target.repository)
        push = ManifestPush(
            target.repository,
            manifest.raw,
            str(manifest.media_type),
            tag=target.tag,
            digest=manifest.digest,
            actor=_ACTOR,
        )
        await self._check(push)
        await self._hosted.put_manifest(push)
        return blobs

    async def keep(
        self, target: Reference, digest: Digest, access: RequestAccess = DEFAULT_ACCESS
    ) -> None:
        """Give an image that is there the tag of `target`; raises a RegistryError."""
        del access
        if target.tag is not None:
            await self._hosted.tag(target.repository, target.tag, digest)

    async def _bring(
        self, blob: Descriptor, source: Reference, repository: str, blobs: WrittenBlobs
    ) -> None:
        if blob.urls or source.repository == repository:
            return  # it is elsewhere for good, or there
        if await self._hosted.mount_blob(repository, blob.digest, source.repository):
            blobs.mounted += 1
            return
        # Not here yet, as that of an image which is pulled when somebody asks for it.
        async with self._hosted.open_blob(source, blob.digest) as chunks:
            await self._upload(blob, announced(chunks, blob, source.name), repository)
        blobs.sent += 1
        blobs.sent_bytes += blob.size

    async def _put_config(self, blob: Descriptor, content: bytes, repository: str) -> None:
        try:
            await self._hosted.blob_size(repository, blob.digest)
        except BlobUnknownError:
            await self._upload(blob, _once(content), repository)

    async def _upload(
        self, blob: Descriptor, content: AsyncIterator[bytes], repository: str
    ) -> None:
        upload = await self._hosted.start_upload(repository, blob.digest.algorithm)
        try:
            await self._hosted.append(repository, upload, content)
            await self._hosted.finish_upload(repository, upload, blob.digest)
        except BaseException:
            with suppress(UploadUnknownError):  # what was too much, or wrong, is gone
                await self._hosted.cancel_upload(repository, upload)
            raise


async def _once(content: bytes) -> AsyncIterator[bytes]:
    yield content
