"""A registry that we serve as a window on others: it fetches what ImageStreams name, when asked.

What was fetched is kept.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from weakref import WeakValueDictionary

from upwell.formats.attachment_tags import image_of_tag
from upwell.oci import Descriptor, Digest, Index, Manifest, Reference
from upwell.registry.announced import announced
from upwell.registry.attachments.mirrored import (
    AttachmentMirror,
    MirroredImage,
    OnDemandAttachments,
)
from upwell.registry.errors import BlobUnknownError, ManifestUnknownError
from upwell.registry.hosted.forwarding import ForwardingHosted
from upwell.registry.hosting import (
    ManifestEntry,
    ManifestPush,
    ServedRegistry,
    UploadUnknownError,
)
from upwell.registry.interface import Registry
from upwell.registry.mirror import views
from upwell.registry.origins import ImageOrigins, Origin

_ACTOR = "pull-through"
_MAX_DEPTH = 3
"""Blob, manifest, index: no content is further from what a stream names."""


class PullThroughRegistry(ForwardingHosted):
    """A ServedRegistry, `storage`, with what `origins` knows and it does not hold, from `remote`.

    Nothing else of `remote` can be reached: a digest is fetched when a stream names it, or when
    what a stream names leads to it. Each is fetched once, however many ask, and verified.
    """

    def __init__(self, storage: ServedRegistry, remote: Registry, origins: ImageOrigins) -> None:
        super().__init__(storage)
        self._remote = remote
        self._origins = origins
        self._locks: WeakValueDictionary[tuple[str, Digest], asyncio.Lock] = WeakValueDictionary()
        self._parents: dict[str, dict[Digest, Digest]] = {}
        """By repository: a manifest that names the content, for what manifests name."""
        self._beside = OnDemandAttachments(AttachmentMirror(remote, self))

    async def find_manifest(self, repository: str, target: str | Digest) -> ManifestEntry:
        """Return what a tag or a digest names; a tag is what its stream says."""
        if isinstance(target, str):
            target = await self._origins.digest(repository, target) or target
        if isinstance(target, str) and (image := image_of_tag(target)) is not None:
            await self._bring_beside(repository, image)
        try:
            return await super().find_manifest(repository, target)
        except ManifestUnknownError:
            if isinstance(target, str):
                raise
        async with self._lock(repository, target):
            if not await self.has_manifest(repository, target):
                await self._pull_manifest(repository, target)
        return await super().find_manifest(repository, target)

    async def referrers(self, repository: str, subject: Digest) -> Sequence[ManifestEntry]:
        """List the manifests whose subject is `subject`; those of its origin come along."""
        await self._bring_beside(repository, subject)
        return await super().referrers(repository, subject)

    async def _bring_beside(self, repository: str, image: Digest) -> None:
        """Bring what lies beside an image at its origin; one that is away hinders nothing."""
        origin = await self._origins.find(repository, image)
        if origin is not None and origin.reference.registry != self.host:
            source = origin.reference.with_digest(image)
            await self._beside.bring(MirroredImage(source, repository, (image,), origin.access))

    async def read_manifest(self, repository: str, digest: Digest) -> bytes:
        """Return the bytes of a manifest; of one that is damaged, those of its origin."""
        try:
            return await super().read_manifest(repository, digest)
        except ManifestUnknownError:
            await self.find_manifest(repository, digest)
        return await super().read_manifest(repository, digest)

    async def blob_size(self, repository: str, digest: Digest, *, verified: bool = False) -> int:
        """Return the bytes that a blob has, which is here afterwards."""
        try:
            return await super().blob_size(repository, digest, verified=verified)
        except BlobUnknownError:
            if await self._origin(repository, digest) is None:
                raise
        async with self._lock(repository, digest):
            try:
                return await super().blob_size(repository, digest)
            except BlobUnknownError:
                await self._pull_blob(repository, digest)
        return await super().blob_size(repository, digest)

    @asynccontextmanager
    async def read_blob(
        self, repository: str, digest: Digest, span: range
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """Stream the bytes of `span`."""
        await self.blob_size(repository, digest)
        async with super().read_blob(repository, digest, span) as chunks:
            yield chunks

    def _lock(self, repository: str, digest: Digest) -> asyncio.Lock:
        return self._locks.setdefault((repository, digest), asyncio.Lock())

    async def _pull_manifest(self, repository: str, digest: Digest) -> None:
        origin = await self._origin(repository, digest)
        if origin is None:
            return
        source = origin.reference.with_digest(digest)
        manifest = await self._registry_of(source).manifest(source, origin.access)
        await self.put_manifest(
            ManifestPush(
                repository,
                manifest.raw,
                str(manifest.media_type),
                digest=digest,
                actor=_ACTOR,
                sparse=True,
            )
        )
        if repository in self._parents:
            self._parents[repository].update(dict.fromkeys(_content(manifest), digest))

    async def _pull_blob(self, repository: str, digest: Digest) -> None:
        origin = await self._origin(repository, digest)
        if origin is None:
            return
        source = origin.reference
        if source.registry == self.host:
            await self.blob_size(source.repository, digest)  # which may pull it through itself
            await self.mount_blob(repository, digest, source.repository)
            return
        for view in views(source, repository.partition("/")[0]):
            if await self.mount_blob(repository, digest, view):
                return  # a build has brought it here already, and this namespace may read it
        upload = await self.start_upload(repository, digest.algorithm)
        try:
            blob = await self._descriptor(repository, digest)
            async with self._remote.open_blob(source, digest, origin.access) as chunks:
                await self.append(repository, upload, announced(chunks, blob, source.name))
            await self.finish_upload(repository, upload, digest)
        except BaseException:
            with suppress(UploadUnknownError):  # a wrong digest has dropped it
                await self.cancel_upload(repository, upload)
            raise

    async def _descriptor(self, repository: str, digest: Digest) -> Descriptor:
        """Return what a manifest that is kept says of content; raises BlobUnknownError."""
        parent = (await self._parents_in(repository)).get(digest)
        if parent is not None:
            found = await self._storage.manifest(Reference(self.host, repository, digest=parent))
            named = found.manifests if isinstance(found, Index) else found.references
            for entry in named:
                if entry.digest == digest:
                    return entry
        raise BlobUnknownError(repository, digest)

    async def _origin(self, repository: str, digest: Digest) -> Origin | None:
        """Return where content comes from: the origin of the image that it is a part of."""
        part: Digest | None = digest
        for _ in range(_MAX_DEPTH):
            if part is None:
                return None
            origin = await self._origins.find(repository, part)
            if origin is not None:
                own = Reference(self.host, repository)
                return None if origin.reference.name == own.name else origin
            part = (await self._parents_in(repository)).get(part)
        return None

    async def _parents_in(self, repository: str) -> dict[Digest, Digest]:
        """Return which manifest names which content, read once from what is kept."""
        known = self._parents.get(repository)
        if known is None:
            known = {}
            for manifest in await self._kept(repository):
                known.update(dict.fromkeys(_content(manifest), manifest.digest))
            self._parents[repository] = known
        return known

    async def _kept(self, repository: str) -> Sequence[Manifest | Index]:
        return [
            await self._storage.manifest(Reference(self.host, repository, digest=digest))
            for digest in await self._storage.manifests_in(repository)
        ]

    def _registry_of(self, source: Reference) -> Registry:
        return self if source.registry == self.host else self._remote


def _content(manifest: Manifest | Index) -> list[Digest]:
    """Return what a manifest names that its repository is asked for; foreign layers are not."""
    named = manifest.manifests if isinstance(manifest, Index) else manifest.references
    return [entry.digest for entry in named if not entry.urls]
