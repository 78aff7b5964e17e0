"""Indexes the packages of images, so that a change can name what it changed.

One image at a time: this reads whole layers, each once, and nothing waits for it.
"""

import asyncio
import logging
from collections.abc import Sequence

from upwell.api.image import ImageStream, TagEvent
from upwell.api.meta import ObjectKey
from upwell.controller import Controller, ObjectCache, Result, Watch
from upwell.inventory.interface import Inventory, InventoryError, Package
from upwell.oci import Digest, Index, Platform, Reference
from upwell.policy.images.repository_tags import effective_tags
from upwell.policy.images.streams import pinned
from upwell.reconcilers.images.pull_secrets import PullSecrets
from upwell.registry.errors import RegistryError
from upwell.registry.interface import Registry, RequestAccess
from upwell.registry.layers import RegistryLayers
from upwell.store.interface import NotFoundError, Store

log = logging.getLogger(__name__)

KEPT_DIGESTS = 2
"""The newest digests of each tag that are indexed: what a change was from, and to."""


class ImageContents:
    """Reconciles ImageStreams with the inventory."""

    def __init__(
        self,
        store: Store,
        registries: Registry,
        inventory: Inventory,
        secrets: PullSecrets,
        platform: Platform,
    ) -> None:
        self._store = store
        self._registries = registries
        self._inventory = inventory
        self._secrets = secrets
        self._platform = platform
        self._reading = asyncio.Lock()

    async def reconcile(self, key: ObjectKey) -> Result:
        """Index the newest digests of the stream's tags."""
        try:
            stream = await self._store.get(ImageStream, key.namespace, key.name)
        except NotFoundError:
            return Result()
        tags = effective_tags(stream)
        insecure = {tag.name for tag in tags if tag.insecure}
        newest = [
            (digest, history.tag, event)
            for history in stream.status.tags
            for event in history.items[:KEPT_DIGESTS]
            if (digest := _digest(event)) is not None
        ]
        # One question for all of them: a stream of a thousand tags changes a thousand times.
        unread = {*await self._inventory.unread(digest for digest, _, _ in newest)}
        if not unread:
            return Result()
        logins = await self._secrets.of_namespace(stream.namespace)
        for digest, tag, event in newest:
            if digest in unread:
                access = RequestAccess(logins, insecure=tag in insecure)
                await self._index_or_warn(Reference.parse(pinned(event)), access)
        return Result()

    async def _index_or_warn(self, reference: Reference, access: RequestAccess) -> None:
        """Index an image; one that cannot be read works as well without, so it is passed over."""
        try:
            await self._index(reference, access)
        except (InventoryError, RegistryError) as error:
            if error.retryable:
                raise
            log.warning("contents unknown", extra={"image": str(reference), "error": str(error)})

    async def _index(self, reference: Reference, access: RequestAccess) -> None:
        if reference.digest is None:
            return
        if await self._inventory.failure(reference.digest) is None:
            await self.packages(reference, access)

    async def packages(self, reference: Reference, access: RequestAccess) -> Sequence[Package]:
        """Return the packages of an image that is named by its digest.

        They are read from its layers if they were not yet. Raises InventoryError or RegistryError.
        """
        if reference.digest is None:
            raise ValueError(f"{reference} names no digest")
        async with self._reading:
            known = await self._inventory.packages(reference.digest)
            return await self._read(reference, reference.digest, access) if known is None else known

    async def _read(
        self, reference: Reference, digest: Digest, access: RequestAccess
    ) -> Sequence[Package]:
        manifest = await self._registries.manifest(reference, access)
        if isinstance(manifest, Index):
            entry = manifest.select(self._platform)
            if entry is None:
                return ()  # nothing of it runs here
            manifest = await self._registries.manifest(reference.with_digest(entry.digest), access)
        if isinstance(manifest, Index):
            return ()
        layers = RegistryLayers(self._registries, reference, manifest.layers, access)
        found = await self._inventory.index(digest, layers)
        log.info("contents indexed", extra={"image": str(reference), "packages": len(found)})
        return found


def _digest(event: TagEvent) -> Digest | None:
    if event.image:
        return Digest.parse(event.image)
    return Reference.parse(pinned(event)).digest


def image_contents_controller(contents: ImageContents, cache: ObjectCache) -> Controller:
    """Return the controller that indexes packages."""
    return Controller("contents", contents, cache, (Watch(ImageStream),), workers=1)
