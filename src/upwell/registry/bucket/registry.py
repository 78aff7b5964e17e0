"""The embedded registry on a bucket: the port's methods on indexes, contents and uploads."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import override

from upwell.oci import Digest
from upwell.registry.bucket.announcements import ACTOR, LOOKS, PushAnnouncements, ignore
from upwell.registry.bucket.contents import CONDEMNED, BucketContents, key_of
from upwell.registry.bucket.garbage import BucketGarbage
from upwell.registry.bucket.index import ContentLink, RepositoryIndex
from upwell.registry.bucket.indexes import FRESH, RepositoryIndexes
from upwell.registry.bucket.lookups import ContentLookups
from upwell.registry.bucket.manifest_pushes import ManifestPushes
from upwell.registry.bucket.probe import claim, require_fit
from upwell.registry.bucket.uploads import BucketUploads
from upwell.registry.bucket.usage import BucketUsage
from upwell.registry.errors import (
    BlobUnknownError,
    ManifestUnknownError,
    RepositoryUnknownError,
)
from upwell.registry.hosted.limits import DEFAULT_STORAGE_LIMITS, StorageLimits
from upwell.registry.hosted.reads import HostedReads
from upwell.registry.hosting import (
    CollectedGarbage,
    FindQuota,
    ManifestEntry,
    ManifestPush,
    StorageError,
    no_quota,
)
from upwell.registry.interface import (
    DEFAULT_ACCESS,
    PushEvent,
    PushListener,
    RequestAccess,
    StoredRepository,
)
from upwell.registry.s3.client import S3Bucket

_USE_NOTED = 600.0
"""Seconds for which content counts as used: each note is a write of an index."""
_UNNAMED_USE_NOTED = 30.0
"""The same of a blob that no manifest names, which an hour may end."""


class BucketRegistry(HostedReads):
    """An OCI registry in a bucket, which other replicas serve and write to as well.

    `host` is what references to its images carry; `clock` gives seconds since the epoch; content
    that is more than `quota` allows is refused. `fence` raises where a leader that was deposed
    would write. `owner` names the server whose replicas alone may use the bucket.
    Implements ServedRegistry; call `recover` before the first use.
    """

    def __init__(
        self,
        bucket: S3Bucket,
        host: str,
        limits: StorageLimits = DEFAULT_STORAGE_LIMITS,
        clock: Callable[[], float] = time.time,
        quota: FindQuota = no_quota,
        fence: Callable[[], None] = lambda: None,
        owner: str = "",
    ) -> None:
        self._bucket = bucket
        self._host = host
        self._limits = limits
        self._clock = clock
        self._quota = quota
        self._owner = owner
        self._indexes = RepositoryIndexes(bucket, fence, wall_clock=clock)
        self._contents = BucketContents(bucket)
        self._usage = BucketUsage(self._indexes)
        self._uploads = BucketUploads(bucket, self._contents, limits.blob_bytes, self._usage)
        self._garbage = BucketGarbage(bucket, self._indexes, self._uploads, clock)
        self._lookups = ContentLookups(self._indexes, self._contents)
        self._announcements = PushAnnouncements(self._indexes)
        self._pushes = ManifestPushes(
            self._indexes,
            self._contents,
            self._lookups,
            self._usage,
            limits,
            clock,
            quota,
            self._announcements.announce,
        )

    @property
    @override
    def host(self) -> str:
        return self._host

    def subscribe(self, listener: PushListener) -> None:
        """Call `listener` after each push, to this replica or, by `follow`, to another one."""
        self._announcements.subscribe(listener)

    # Upkeep

    async def recover(self) -> None:
        """Check that the bucket can be used; raises StorageError."""
        await require_fit(self._bucket)
        if self._owner:
            await claim(self._bucket, self._owner)

    async def follow(
        self, report: Callable[[StorageError | None], None] = ignore, pause: float = LOOKS
    ) -> None:
        """Tell listeners of the tags that other replicas set, until it is cancelled.

        `report` is called after each look, with what it failed for; `pause` is in seconds.
        """
        await self._announcements.follow(report, pause)

    def damage(self) -> Mapping[str, Sequence[str]]:
        """Return the contents that were met and are not what they were, by repository."""
        found: dict[str, list[str]] = {}
        for repository, digest in self._contents.damage().values():
            found.setdefault(repository, []).append(f"content {digest}")
        return found

    async def scrub(self) -> int:
        """Look again at what reads have met as damaged; the storage checks the rest itself."""
        return await self._lookups.look_again()

    def stored_bytes(self) -> int:
        """Return the bytes of all content that is linked, as `follow` has seen it."""
        return self._usage.total()

    async def storage_used(self, namespace: str) -> int:
        """Return the bytes that a namespace's repositories and uploads count as."""
        return await self._usage.used(namespace)

    async def collect_garbage(self) -> CollectedGarbage:
        """Remove expired uploads, and blobs that no manifest has named for a while."""
        now = self._clock()
        limits = self._limits
        return await self._garbage.collect(now - limits.upload_age, now - limits.unused_age)

    async def drop_idle_uploads(self) -> int:
        """Remove nothing: uploads take no room of this machine."""
        return 0

    # The PrunableRegistry port

    async def survey(self) -> Sequence[StoredRepository]:
        """Return what every repository holds."""
        found = [
            # What was read is not changed, so a thread may look at it.
            await asyncio.to_thread((await self._indexes.known(name, etag)).survey, name)
            async for name, etag in self._indexes.names()
        ]
        return [one for one in found if one.manifests]

    async def expire_tag(self, repository: str, tag: str, digest: Digest) -> bool:
        """Remove `tag` if it still names `digest`."""

        def change(index: RepositoryIndex) -> bool:
            is_same = index.digest_of(tag) == digest
            if is_same:
                index.tags.pop(tag)
            return is_same

        return await self._indexes.change(repository, change)

    async def expire_manifest(self, repository: str, digest: Digest, before: datetime) -> bool:
        """Remove a manifest that nothing in the repository names, pushed before `before`."""

        def change(index: RepositoryIndex) -> bool:
            known = index.manifests.get(digest)
            if known is None or known.link.used >= before.timestamp() or index.is_named(digest):
                return False
            return index.remove_manifest(digest)

        return await self._indexes.change(repository, change)

    async def collect(self, before: datetime) -> None:
        """Remove the blobs that no manifest names and that nobody has used since `before`."""
        await self._garbage.collect(self._clock() - self._limits.upload_age, before.timestamp())

    # The InternalRegistry port

    async def tag(
        self, repository: str, tag: str, digest: Digest, access: RequestAccess = DEFAULT_ACCESS
    ) -> None:
        """Point `tag` at a manifest of `repository`, atomically."""
        del access
        now = self._clock()

        def change(index: RepositoryIndex) -> ManifestEntry | None:
            found = index.manifests.get(digest)
            if found is None:
                return None
            index.set_tag(tag, digest, now)
            return found.entry

        entry = await self._indexes.change(repository, change)
        if entry is None:
            raise ManifestUnknownError(self._reference(repository, digest))
        self._announcements.announce(PushEvent(repository, tag, digest, entry.media_type, ACTOR))

    async def untag(self, repository: str, tag: str) -> None:
        """Remove `tag`, keeping its manifest."""
        if not await self._indexes.change(repository, lambda index: index.tags.pop(tag)):
            raise ManifestUnknownError(self._reference(repository, tag))

    async def repositories(self) -> Sequence[str]:
        """List the repositories that hold a manifest, sorted."""
        return sorted(
            [
                name
                async for name, etag in self._indexes.names()
                if (await self._indexes.known(name, etag)).manifests
            ]
        )

    async def pushed_tags(self, repository: str) -> Sequence[tuple[str, Digest]]:
        """List the tags of a repository, each with what it names."""
        index = await self._indexes.read(repository)
        return sorted(index.named().items())

    async def tag_digest(
        self, repository: str, tag: str, access: RequestAccess = DEFAULT_ACCESS
    ) -> Digest | None:
        """Return what `tag` points at now, or None."""
        del access
        return (await self._indexes.read(repository)).digest_of(tag)

    async def has_manifest(self, repository: str, digest: Digest) -> bool:
        """Return True if `repository` holds the manifest or index `digest`, undamaged."""
        return await self._lookups.has_whole(repository, digest)

    async def manifests_in(self, repository: str) -> Sequence[Digest]:
        """List the manifests of a repository."""
        return list((await self._indexes.read(repository)).manifests)

    async def delete_manifest(self, repository: str, digest: Digest) -> None:
        """Remove a manifest and every tag that points at it."""
        if not await self._indexes.change(repository, lambda one: one.remove_manifest(digest)):
            raise ManifestUnknownError(self._reference(repository, digest))

    # The HostedRegistry port: manifests

    @override
    async def find_manifest(self, repository: str, target: str | Digest) -> ManifestEntry:
        digest: Digest | None
        if isinstance(target, Digest):
            digest = target
        else:
            digest = (await self._indexes.read(repository)).digest_of(target)
        found = await self._lookups.manifest(repository, digest) if digest is not None else None
        if found is None:
            raise ManifestUnknownError(self._reference(repository, target))
        return found.entry

    async def keep_manifest(self, repository: str, digest: Digest) -> None:
        """Note that somebody relies on a manifest."""
        found = await self._lookups.manifest(repository, digest)
        now = self._clock()
        if found is not None and found.link.used < now - _USE_NOTED:
            await self._indexes.change(repository, lambda index: index.use(digest, now))

    @override
    async def read_manifest(self, repository: str, digest: Digest) -> bytes:
        found = await self._lookups.manifest(repository, digest)
        if found is not None:
            with contextlib.suppress(BlobUnknownError):
                return await self._contents.read(repository, digest, found.link)
        raise ManifestUnknownError(self._reference(repository, digest))

    async def check_manifest(self, push: ManifestPush) -> None:
        """Raise what the document, its content or its tag would be refused for."""
        await self._pushes.check(push)

    async def put_manifest(self, push: ManifestPush) -> ManifestEntry:
        """Check and store a manifest, and set its tag."""
        return await self._pushes.put(push)

    @override
    async def tag_names(self, repository: str) -> Sequence[str]:
        index = await self._indexes.read(repository)
        if index.is_empty:
            raise RepositoryUnknownError(repository)
        return sorted(index.tags)

    @override
    async def referrers(self, repository: str, subject: Digest) -> Sequence[ManifestEntry]:
        index = await self._indexes.read(repository, age=FRESH)
        found = [one.entry for one in index.manifests.values() if one.entry.subject == subject]
        return sorted(found, key=lambda entry: entry.digest)

    # The HostedRegistry port: blobs

    @override
    async def blob_size(self, repository: str, digest: Digest, *, verified: bool = False) -> int:
        link = await self._lookups.blob(repository, digest)
        if not verified:
            await self._note_use(repository, digest, link)
        return link.size

    async def _note_use(self, repository: str, digest: Digest, link: ContentLink) -> None:
        """Keep a blob that a client asks for: it sends only those that are not here."""
        now = self._clock()
        if link.used >= now - _UNNAMED_USE_NOTED:
            return
        index = await self._indexes.read(repository, age=FRESH)
        is_named = any(digest in one.needs for one in index.manifests.values())
        if link.used >= now - _USE_NOTED and is_named:
            return
        if not await self._indexes.change(repository, lambda one: one.use(digest, now)):
            raise BlobUnknownError(repository, digest)

    @override
    @contextlib.asynccontextmanager
    async def read_blob(
        self, repository: str, digest: Digest, span: range
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        link = await self._lookups.blob(repository, digest)
        async with self._contents.stream(repository, digest, link, span) as chunks:
            yield chunks

    async def mount_blob(self, repository: str, digest: Digest, source: str) -> bool:
        """Make a blob of `source` visible in `repository`, without copying it."""
        try:
            origin = await self._lookups.blob(source, digest)
        except BlobUnknownError:
            return False
        if not self._usage.has(repository, origin.content):
            quota = await self._quota(repository)
            await self._usage.require(repository, origin.size, quota)
        link = replace(origin, used=self._clock())
        before = (await self._indexes.read(repository)).blobs.get(digest)
        await self._indexes.change(repository, lambda one: one.link_blob(digest, link))
        is_condemned = await self._bucket.size(f"{CONDEMNED}{link.content}") is not None
        if not is_condemned and await self._bucket.size(key_of(link.content)) is not None:
            return True

        # The source had let go of it, and it is gone, or may be at any moment.
        def undo(index: RepositoryIndex) -> None:
            if index.blobs.get(digest) == link:
                index.link_blob(digest, before)

        await self._indexes.change(repository, undo)
        return False

    async def delete_blob(self, repository: str, digest: Digest) -> None:
        """Take a blob out of a repository."""
        if not await self._indexes.change(repository, lambda one: one.blobs.pop(digest)):
            raise BlobUnknownError(repository, digest)

    # The HostedRegistry port: uploads

    async def start_upload(
        self, repository: str, algorithm: str = "sha256", owner: str = ""
    ) -> str:
        """Begin a resumable upload and return its name."""
        quota = await self._quota(repository)
        return await self._uploads.start(repository, algorithm, owner, quota)

    async def upload_offset(self, repository: str, upload: str) -> int:
        """Return how many bytes have arrived."""
        return await self._uploads.offset(repository, upload)

    async def append(
        self, repository: str, upload: str, body: AsyncIterator[bytes], start: int | None = None
    ) -> int:
        """Write `body` to the end of an upload; return the new end."""
        quota = await self._quota(repository)
        return await self._uploads.append(repository, upload, body, start, quota)

    async def finish_upload(self, repository: str, upload: str, digest: Digest) -> None:
        """Turn an upload into the blob `digest`, which heals one that is damaged."""
        content, size = await self._uploads.finish(repository, upload, digest)
        link = ContentLink(content, size, self._clock())

        before = await self._indexes.change(repository, lambda one: one.link_blob(digest, link))
        if before is not None:
            self._contents.forget_damage(before.content)
        await self._uploads.end(repository, upload)

    async def cancel_upload(self, repository: str, upload: str) -> None:
        """Drop an upload."""
        await self._uploads.cancel(repository, upload)
