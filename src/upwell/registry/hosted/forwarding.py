"""A served registry that changes something about another one, its storage, begins here."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import override

from upwell.oci import Digest
from upwell.registry.hosted.reads import HostedReads
from upwell.registry.hosting import CollectedGarbage, ManifestEntry, ManifestPush, ServedRegistry
from upwell.registry.interface import (
    DEFAULT_ACCESS,
    PushListener,
    RequestAccess,
    StoredRepository,
)


class ForwardingHosted(HostedReads):
    """Implements ServedRegistry by another one, whose contract each method has.

    What HostedReads has is made of the methods of this one, so that a subclass changes it, too.
    """

    def __init__(self, storage: ServedRegistry) -> None:
        self._storage = storage

    @property
    @override
    def host(self) -> str:
        return self._storage.host

    def subscribe(self, listener: PushListener) -> None:
        """Call `listener` after each push."""
        self._storage.subscribe(listener)

    # Manifests and tags

    @override
    async def find_manifest(self, repository: str, target: str | Digest) -> ManifestEntry:
        return await self._storage.find_manifest(repository, target)

    @override
    async def read_manifest(self, repository: str, digest: Digest) -> bytes:
        return await self._storage.read_manifest(repository, digest)

    @override
    async def tag_names(self, repository: str) -> Sequence[str]:
        return await self._storage.tag_names(repository)

    @override
    async def referrers(self, repository: str, subject: Digest) -> Sequence[ManifestEntry]:
        return await self._storage.referrers(repository, subject)

    async def repositories(self) -> Sequence[str]:
        """List the repositories that hold a manifest, sorted."""
        return await self._storage.repositories()

    async def manifests_in(self, repository: str) -> Sequence[Digest]:
        """List the manifests of a repository."""
        return await self._storage.manifests_in(repository)

    async def has_manifest(self, repository: str, digest: Digest) -> bool:
        """Return True if `repository` holds the manifest or index `digest`."""
        return await self._storage.has_manifest(repository, digest)

    async def delete_manifest(self, repository: str, digest: Digest) -> None:
        """Remove a manifest and every tag that points at it."""
        await self._storage.delete_manifest(repository, digest)

    async def keep_manifest(self, repository: str, digest: Digest) -> None:
        """Note that somebody relies on a manifest."""
        await self._storage.keep_manifest(repository, digest)

    async def check_manifest(self, push: ManifestPush) -> None:
        """Raise what `put_manifest` would raise of a manifest."""
        await self._storage.check_manifest(push)

    async def put_manifest(self, push: ManifestPush) -> ManifestEntry:
        """Check and store a manifest, and set its tag."""
        return await self._storage.put_manifest(push)

    async def pushed_tags(self, repository: str) -> Sequence[tuple[str, Digest]]:
        """List the tags of a repository, each with what it names."""
        return await self._storage.pushed_tags(repository)

    async def tag(
        self, repository: str, tag: str, digest: Digest, access: RequestAccess = DEFAULT_ACCESS
    ) -> None:
        """Point `tag` at a manifest of `repository`, atomically."""
        await self._storage.tag(repository, tag, digest, access)

    async def untag(self, repository: str, tag: str) -> None:
        """Remove `tag`, keeping its manifest."""
        await self._storage.untag(repository, tag)

    async def tag_digest(
        self, repository: str, tag: str, access: RequestAccess = DEFAULT_ACCESS
    ) -> Digest | None:
        """Return what `tag` points at now, or None."""
        return await self._storage.tag_digest(repository, tag, access)

    # Blobs and uploads

    @override
    async def blob_size(self, repository: str, digest: Digest, *, verified: bool = False) -> int:
        return await self._storage.blob_size(repository, digest, verified=verified)

    @override
    def read_blob(
        self, repository: str, digest: Digest, span: range
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        return self._storage.read_blob(repository, digest, span)

    async def mount_blob(self, repository: str, digest: Digest, source: str) -> bool:
        """Make a blob of `source` visible in `repository`."""
        return await self._storage.mount_blob(repository, digest, source)

    async def delete_blob(self, repository: str, digest: Digest) -> None:
        """Take a blob out of a repository."""
        await self._storage.delete_blob(repository, digest)

    async def start_upload(
        self, repository: str, algorithm: str = "sha256", owner: str = ""
    ) -> str:
        """Begin a resumable upload and return its name."""
        return await self._storage.start_upload(repository, algorithm, owner)

    async def upload_offset(self, repository: str, upload: str) -> int:
        """Return how many bytes have arrived."""
        return await self._storage.upload_offset(repository, upload)

    async def append(
        self, repository: str, upload: str, body: AsyncIterator[bytes], start: int | None = None
    ) -> int:
        """Write `body` to the end of an upload; return the new end."""
        return await self._storage.append(repository, upload, body, start)

    async def finish_upload(self, repository: str, upload: str, digest: Digest) -> None:
        """Turn an upload into the blob `digest`."""
        await self._storage.finish_upload(repository, upload, digest)

    async def cancel_upload(self, repository: str, upload: str) -> None:
        """Drop an upload."""
        await self._storage.cancel_upload(repository, upload)

    # Upkeep

    async def recover(self) -> None:
        """Make it ready for its first use."""
        await self._storage.recover()

    async def storage_used(self, namespace: str) -> int:
        """Return the bytes that a namespace counts as."""
        return await self._storage.storage_used(namespace)

    def damage(self) -> Mapping[str, Sequence[str]]:
        """Return what was found to be damaged, by repository; blocks."""
        return self._storage.damage()

    async def scrub(self) -> int:
        """Look for damage that nobody has met yet; return the bytes."""
        return await self._storage.scrub()

    async def collect_garbage(self) -> CollectedGarbage:
        """Remove expired uploads, and blobs that no manifest has named for a while."""
        return await self._storage.collect_garbage()

    async def drop_idle_uploads(self) -> int:
        """Remove uploads that nobody goes on with; return how many."""
        return await self._storage.drop_idle_uploads()

    async def survey(self) -> Sequence[StoredRepository]:
        """Return what every repository holds."""
        return await self._storage.survey()

    async def expire_tag(self, repository: str, tag: str, digest: Digest) -> bool:
        """Remove `tag` if it still names `digest`."""
        return await self._storage.expire_tag(repository, tag, digest)

    async def expire_manifest(self, repository: str, digest: Digest, before: datetime) -> bool:
        """Remove a manifest that nothing names, last pushed before `before`."""
        return await self._storage.expire_manifest(repository, digest, before)

    async def collect(self, before: datetime) -> None:
        """Remove the blobs that no manifest names and that nobody has used since `before`."""
        await self._storage.collect(before)
