"""LimitRanges of a repository's namespace: bounds of images, and of tags and images of a stream."""

from upwell.api.core import IMAGE, IMAGE_STREAM, LimitRange
from upwell.api.image import ImageStream
from upwell.oci import Digest, InvalidManifestError, Manifest, parse_manifest
from upwell.policy.images.streams import is_image_tag
from upwell.policy.quotas.limit_ranges import bounds_of, image_fault, push_fault
from upwell.registry.errors import BlobUnknownError
from upwell.registry.hosting import HostedRegistry, ManifestPush
from upwell.server.distribution.requests import DistributionError
from upwell.store.interface import NotFoundError, Selector, Store


class ImageLimits:
    """Bounds of what clients push; without a store, there are none."""

    def __init__(self, store: Store | None = None) -> None:
        self._store = store

    async def require(self, registry: HostedRegistry, push: ManifestPush) -> None:
        """Raise DistributionError 403 for a manifest that is more than there may be."""
        if self._store is None:
            return
        namespace, _, name = push.repository.partition("/")
        ranges = (await self._store.list(LimitRange, Selector(namespace))).items
        bounds = bounds_of(ranges, IMAGE, IMAGE_STREAM)
        if not bounds:
            return
        try:
            manifest = parse_manifest(push.raw, push.media_type)
        except InvalidManifestError:
            return  # which the registry refuses
        why = ""
        if isinstance(manifest, Manifest):
            why = image_fault(await _size(registry, push.repository, manifest), bounds)
        if not why and push.tag is not None and is_image_tag(push.tag):
            stream = await self._stream(self._store, namespace, name)
            why = push_fault(stream, push.tag, str(manifest.digest), bounds)
        if why:
            raise DistributionError(403, "DENIED", f"{push.repository}: {why}")

    async def _stream(self, store: Store, namespace: str, name: str) -> ImageStream | None:
        try:
            return await store.get(ImageStream, namespace, name)
        except NotFoundError:
            return None


async def _size(registry: HostedRegistry, repository: str, manifest: Manifest) -> int:
    """Return the bytes that an image's blobs have here, whatever its manifest says."""
    digests: dict[Digest, None] = dict.fromkeys(
        blob.digest for blob in manifest.references if not blob.urls
    )
    total = 0
    for digest in digests:
        try:
            total += await registry.blob_size(repository, digest)
        except BlobUnknownError:
            continue  # which the registry refuses
    return total
