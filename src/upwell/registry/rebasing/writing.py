"""Writes rebased images: blobs, manifests by their digest, and the tag last.

Whatever request is the last one, the tag names the image before or the whole new one. Blobs of one
registry are mounted, and only what it will not mount is sent.
"""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial

from upwell.machine.tasks import together
from upwell.oci import Descriptor, Index, Manifest, Reference
from upwell.oci.rebase.placing import PlacedImage, RebaseTarget, WrittenBlobs
from upwell.registry.client.push import RegistryPusher, once
from upwell.registry.errors import ManifestUnknownError, RegistryError
from upwell.registry.interface import DEFAULT_ACCESS, Registry, RequestAccess
from upwell.registry.sending import BlobSource

_AT_ONCE = 16


class TagMovedError(RegistryError):
    """The tag was pushed to meanwhile: what was made is of the image before."""

    reason = "TagMoved"
    retryable = True

    def __init__(self, tag: Reference) -> None:
        super().__init__(f"{tag} was pushed to meanwhile: it was left as it is; rebase it again")


@dataclass
class RebaseWriter:
    """Writer of rebased images from and to registries that `registry` reads and `pusher` writes."""

    registry: Registry
    pusher: RegistryPusher
    access: RequestAccess = DEFAULT_ACCESS
    _slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_AT_ONCE))

    async def write(
        self,
        images: Sequence[PlacedImage],
        kept: Sequence[tuple[Reference, Manifest]],
        index: Index | None,
        target: RebaseTarget,
    ) -> WrittenBlobs:
        """Write images, what else `index` names, the index itself, and then the tag.

        Without an index there is one image. Raises a RegistryError.
        """
        blobs = WrittenBlobs()
        await together(self._content(placed, target.name, blobs) for placed in images)
        await together(
            self._blob(blob, source, target.name, blobs)
            for source, manifest in kept
            for blob in _distinct(manifest.references)
        )
        whole: Manifest | Index = images[0].manifest if index is None else index
        manifests = [placed.manifest for placed in images] + [one for _, one in kept]
        await together(self._by_digest(one, target.name) for one in manifests)
        if index is not None:
            await self._by_digest(index, target.name)
        if target.name.tag is not None:
            await self._check(target)
            await self.pusher.push_manifest(
                Reference(target.name.registry, target.name.repository, target.name.tag),
                whole,
                self.access,
            )
        return blobs

    async def _check(self, target: RebaseTarget) -> None:
        if target.replaced is None:
            return
        try:
            found = await self.registry.resolve(target.name, self.access)
        except ManifestUnknownError as error:
            raise TagMovedError(target.name) from error
        if found.digest != target.replaced:
            raise TagMovedError(target.name)

    async def _content(self, placed: PlacedImage, goal: Reference, blobs: WrittenBlobs) -> None:
        """Bring all blobs of an image; those that the repository has are not asked for."""
        described = placed.manifest.config
        await together(
            [
                *(
                    self._blob(blob, placed.base, goal, blobs, placed.base_origin)
                    for blob in _distinct(placed.base_layers)
                ),
                *(
                    self._blob(blob, placed.source, goal, blobs)
                    for blob in _distinct(placed.own_layers)
                ),
                self.pusher.push_blob(goal, described, partial(once, placed.config), self.access),
            ]
        )

    async def _blob(
        self,
        blob: Descriptor,
        source: Reference,
        goal: Reference,
        blobs: WrittenBlobs,
        origin: Reference | None = None,
    ) -> None:
        """Bring a blob of `source`, which a repository `origin` may have too."""
        if blob.urls or source.name == goal.name:
            return  # it is elsewhere for good, or there
        async with self._slots:
            beside = next((o for o in (source, origin) if o and o.registry == goal.registry), None)
            if beside is not None and await self._mounted(blob, beside, goal):
                blobs.mounted += 1
                return
            if await self.pusher.has_blob(goal, blob.digest, self.access):
                return
            content = BlobSource(self.registry, source, self.access)
            await content.send(blob, self.pusher, goal, self.access)
        blobs.sent += 1
        blobs.sent_bytes += blob.size

    async def _mounted(self, blob: Descriptor, beside: Reference, goal: Reference) -> bool:
        return await self.pusher.mount(goal, blob.digest, beside.repository, self.access)

    async def _by_digest(self, manifest: Manifest | Index, goal: Reference) -> None:
        pinned = goal.with_digest(manifest.digest)
        await self.pusher.push_manifest(pinned, manifest, self.access)


def _distinct(blobs: Iterable[Descriptor]) -> list[Descriptor]:
    return list({blob.digest: blob for blob in blobs}.values())
