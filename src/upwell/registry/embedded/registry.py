"""The embedded registry: the port's methods on top of uploads, contents and repositories."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from upwell.machine.disk import PressureCheck, no_pressure
from upwell.oci import Digest
from upwell.registry.embedded.contents import Allowance, Contents
from upwell.registry.embedded.files import make_directories, run_whole, storing
from upwell.registry.embedded.integrity import SCRUB_BYTES, Integrity, StoredFile
from upwell.registry.embedded.reading import BlobReads
from upwell.registry.embedded.repositories import StoredRepositories
from upwell.registry.embedded.repository import Repository, TagHook
from upwell.registry.embedded.uploads import Uploads
from upwell.registry.embedded.usage import StorageUsage
from upwell.registry.errors import (
    BlobUnknownError,
    ManifestUnknownError,
    RepositoryUnknownError,
)
from upwell.registry.hosted.documents import is_index
from upwell.registry.hosted.limits import DEFAULT_STORAGE_LIMITS, StorageLimits
from upwell.registry.hosted.quotas import namespace_of
from upwell.registry.hosted.reads import HostedReads
from upwell.registry.hosting import (
    CollectedGarbage,
    FindQuota,
    ManifestEntry,
    ManifestPush,
    StorageFullError,
    StorageQuota,
    no_quota,
)
from upwell.registry.interface import (
    DEFAULT_ACCESS,
    PushEvent,
    PushListener,
    RequestAccess,
    StoredRepository,
)

_ACTOR = "upwell"
_IDLE_UPLOAD = 60.0
"""Seconds after which an upload is given up while space is short: it would get none."""
_USE_NOTED = 30.0
"""Seconds for which content counts as used; well below any age at which it is removed."""


class EmbeddedRegistry(HostedReads):
    """An OCI registry in the folder `root`, which no other process may write to.

    `host` is what references to its images carry; `clock` gives seconds since the epoch; blobs are
    refused while `pressure` says that there is no room to spare, and all content that is more than
    `quota` allows.
    Implements HostedRegistry; call `recover` before the first use.
    """

    def __init__(
        self,
        root: Path,
        host: str,
        listeners: Sequence[PushListener] = (),
        limits: StorageLimits = DEFAULT_STORAGE_LIMITS,
        clock: Callable[[], float] = time.time,
        pressure: PressureCheck = no_pressure,
        quota: FindQuota = no_quota,
    ) -> None:
        self._quota_of = quota
        self._host = host
        self._pressure = pressure
        self._listeners = list(listeners)
        self._limits = limits
        self._clock = clock
        self._temporary = root / "temporary"
        self._usage = StorageUsage(root / "repositories", root / "uploads")
        self._integrity = Integrity()
        self._reads = BlobReads()
        self._contents = Contents(
            root / "blobs", root / "repositories", self._usage, self._integrity
        )
        self._uploads = Uploads(root / "uploads", limits.blob_bytes, self._usage, pressure)
        self._repositories = StoredRepositories(
            root / "repositories", self._contents, self._usage, self._temporary
        )

    @property
    def host(self) -> str:
        """The `host:port` that references to its images carry."""
        return self._host

    def subscribe(self, listener: PushListener) -> None:
        """Call `listener` after each push."""
        self._listeners.append(listener)

    async def recover(self) -> None:
        """Remove what a killed process left half done; raises StorageError."""
        with storing("the registry"):
            await run_whole(self._empty_temporary)
            await run_whole(self._uploads.remove_empty_folders)

    def damage(self) -> Mapping[str, Sequence[str]]:
        """Return what was found to be damaged by the disk, by repository; blocks."""
        return self._repositories.damage()

    async def scrub(self, rate: int = SCRUB_BYTES) -> int:
        """Look for blobs that the disk has changed, `rate` bytes a second; return the bytes."""

        def found(stored: StoredFile) -> None:
            self._repositories.note_damage(stored.digest)

        with storing("the registry"):
            files = await asyncio.to_thread(lambda: list(self._repositories.files()))
            return await self._integrity.scrub(files, found, rate)

    async def manifests_in(self, repository: str) -> Sequence[Digest]:
        """List the manifests of a repository."""
        found = await self._find(repository)
        return list(found.manifests) if found is not None else ()

    async def storage_used(self, namespace: str) -> int:
        """Return the bytes that a namespace's repositories and uploads count as."""
        with storing(namespace):
            return await run_whole(self._usage.used, namespace)

    async def collect_garbage(self) -> CollectedGarbage:
        """Remove expired uploads, and blobs that no manifest has named for a while."""
        now = self._clock()
        with storing("the registry"):
            return await run_whole(
                self._collect_garbage, now - self._limits.upload_age, now - self._limits.unused_age
            )

    async def drop_idle_uploads(self) -> int:
        """Remove uploads that nobody has gone on with for a minute; return how many."""
        with storing("the registry"):
            return await run_whole(self._uploads.expire, self._clock() - _IDLE_UPLOAD)

    # The PrunableRegistry port

    async def survey(self) -> Sequence[StoredRepository]:
        """Return what every repository holds."""
        found = []
        with storing("the registry"):
            for name in await self.repositories():
                repository = await self._find(name)
                if repository is not None:
                    found.append(await run_whole(repository.survey))
        return found

    async def expire_tag(self, repository: str, tag: str, digest: Digest) -> bool:
        """Remove `tag` if it still names `digest`."""
        found = await self._find(repository)
        with storing(repository):
            return found is not None and await run_whole(found.expire_tag, tag, digest)

    async def expire_manifest(self, repository: str, digest: Digest, before: datetime) -> bool:
        """Remove a manifest that nothing in the repository names, pushed before `before`."""
        found = await self._find(repository)
        with storing(repository):
            return found is not None and await run_whole(
                found.expire_manifest, digest, before.timestamp()
            )

    async def collect(self, before: datetime) -> None:
        """Remove the blobs that no manifest names and that nobody has used since `before`."""
        with storing("the registry"):
            await run_whole(
                self._collect_garbage, self._clock() - self._limits.upload_age, before.timestamp()
            )

    # The InternalRegistry port

    async def tag(
        self, repository: str, tag: str, digest: Digest, access: RequestAccess = DEFAULT_ACCESS
    ) -> None:
        """Point `tag` at a manifest of `repository`, atomically."""
        del access
        found = await self._find(repository)
        with storing(repository):
            if found is None or not await run_whole(found.set_tag, tag, digest, self._hint(_ACTOR)):
                raise ManifestUnknownError(self._reference(repository, digest))

    async def untag(self, repository: str, tag: str) -> None:
        """Remove `tag`, keeping its manifest."""
        found = await self._find(repository)
        with storing(repository):
            if found is None or not await run_whole(found.remove_tag, tag):
                raise ManifestUnknownError(self._reference(repository, tag))

    async def repositories(self) -> Sequence[str]:
        """List the repositories that hold a manifest, sorted."""
        return await asyncio.to_thread(self._repositories.names)

    async def pushed_tags(self, repository: str) -> Sequence[tuple[str, Digest]]:
        """List the tags of a repository, each with what it names."""
        found = await self._find(repository)
        return sorted(found.tags.items()) if found else ()

    async def tag_digest(
        self, repository: str, tag: str, access: RequestAccess = DEFAULT_ACCESS
    ) -> Digest | None:
        """Return what `tag` points at now, or None."""
        del access
        found = await self._find(repository)
        return found.tags.get(tag) if found else None

    async def has_manifest(self, repository: str, digest: Digest) -> bool:
        """Return True if `repository` holds the manifest or index `digest`, undamaged."""
        found = await self._find(repository)
        return found is not None and await asyncio.to_thread(found.has_whole, digest)

    async def delete_manifest(self, repository: str, digest: Digest) -> None:
        """Remove a manifest and every tag that points at it."""
        found = await self._find(repository)
        with storing(repository):
            if found is None or not await run_whole(found.remove_manifest, digest):
                raise ManifestUnknownError(self._reference(repository, digest))

    # The HostedRegistry port: manifests

    async def find_manifest(self, repository: str, target: str | Digest) -> ManifestEntry:
        """Return what a tag or a digest names."""
        found = await self._find(repository)
        if found is not None:
            digest = target if isinstance(target, Digest) else found.tags.get(target)
            entry = found.manifests.get(digest) if digest else None
            if entry is not None and not found.is_damaged(entry.digest):
                return entry
        raise ManifestUnknownError(self._reference(repository, target))

    async def keep_manifest(self, repository: str, digest: Digest) -> None:
        """Note that somebody relies on a manifest."""
        found = await self._find(repository)
        if found is not None and found.used.get(digest, 0.0) < self._clock() - _USE_NOTED:
            found.used[digest] = self._clock()
            with storing(repository):
                await run_whole(found.touch_manifest, digest)

    async def read_manifest(self, repository: str, digest: Digest) -> bytes:
        """Return the bytes of a manifest."""
        found = await self._find(repository)
        raw = await asyncio.to_thread(found.read, digest) if found is not None else None
        if raw is not None:
            return raw
        raise ManifestUnknownError(self._reference(repository, digest))

    async def check_manifest(self, push: ManifestPush) -> None:
        """Raise what the document, its content or its tag would be refused for."""
        with storing(push.repository):
            quota = await self._quota(push.repository)
            repository = await asyncio.to_thread(self._repositories.create, push.repository)
            await asyncio.to_thread(repository.check_manifest, self._complete(push), quota)

    async def put_manifest(self, push: ManifestPush) -> ManifestEntry:
        """Check and store a manifest, and set its tag."""
        push = self._complete(push)
        with storing(push.repository):
            quota = await self._quota(push.repository)
            repository = await asyncio.to_thread(self._repositories.create, push.repository)
            return await run_whole(repository.put_manifest, push, self._hint(push.actor), quota)

    def _complete(self, push: ManifestPush) -> ManifestPush:
        """Return a push with the setting that indexes may be sparse."""
        is_sparse = self._limits.sparse_indexes and is_index(push.media_type)
        return replace(push, sparse=True) if is_sparse else push

    async def tag_names(self, repository: str) -> Sequence[str]:
        """List every tag, sorted."""
        found = await self._find(repository)
        if found is None:
            raise RepositoryUnknownError(repository)
        return sorted(found.tags)

    async def referrers(self, repository: str, subject: Digest) -> Sequence[ManifestEntry]:
        """List the manifests whose subject is `subject`."""
        found = await self._find(repository)
        return found.referrers(subject) if found else []

    # The HostedRegistry port: blobs

    async def blob_size(self, repository: str, digest: Digest, *, verified: bool = False) -> int:
        """Return the bytes that a blob has; one that the disk has changed is as good as none."""
        found = await self._find(repository)
        if found is None:
            raise BlobUnknownError(repository, digest)
        link = found.blob_link(digest)
        try:
            facts = link.stat()
            if verified and not self._integrity.is_whole(facts):
                with storing(repository):
                    await self._require_whole(repository, digest, link)
                facts = link.stat()
        except FileNotFoundError:
            raise BlobUnknownError(repository, digest) from None
        if self._integrity.is_damaged(facts):
            raise BlobUnknownError(repository, digest)
        if facts.st_mtime < self._clock() - _USE_NOTED:
            # Who pushes an image asks for its blobs, and sends only those that are not here.
            with storing(repository):
                if not await run_whole(found.touch_blob, digest):
                    raise BlobUnknownError(repository, digest)
        return facts.st_size

    async def _require_whole(self, repository: str, digest: Digest, link: Path) -> None:
        """Raise BlobUnknownError for a blob that the disk has changed."""
        if not await self._integrity.require(link, digest):
            await asyncio.to_thread(self._repositories.note_damage, digest)
            raise BlobUnknownError(repository, digest)

    @contextlib.asynccontextmanager
    async def read_blob(
        self, repository: str, digest: Digest, span: range
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """Stream the bytes of `span`; a blob deleted meanwhile is still read to its end."""
        found = await self._find(repository)
        if found is None:
            raise BlobUnknownError(repository, digest)
        try:
            # Microseconds, and not in a thread: a cancelled wait for one would lose the open file.
            file = found.blob_link(digest).open("rb", buffering=0)
        except FileNotFoundError:
            raise BlobUnknownError(repository, digest) from None
        with file:
            file.seek(span.start)
            chunks = self._reads.chunks(repository, file.read, len(span))
            async with contextlib.aclosing(chunks):
                yield chunks

    async def mount_blob(self, repository: str, digest: Digest, source: str) -> bool:
        """Make a blob of `source` visible in `repository`, without copying it."""
        origin = await self._find(source)
        if origin is None:
            return False
        with storing(repository):
            allowed = Allowance(repository, await self._quota(repository))
            target = await asyncio.to_thread(self._repositories.create, repository)
            links = origin.blob_link(digest), target.blob_link(digest)
            return await run_whole(self._contents.share, *links, allowed)

    async def delete_blob(self, repository: str, digest: Digest) -> None:
        """Take a blob out of a repository."""
        found = await self._find(repository)
        with storing(repository):
            if found is None or not await run_whole(found.remove_blob, digest):
                raise BlobUnknownError(repository, digest)

    # The HostedRegistry port: uploads

    async def start_upload(
        self, repository: str, algorithm: str = "sha256", owner: str = ""
    ) -> str:
        """Begin a resumable upload and return its name."""
        self._require_room(repository)
        quota = await self._quota(repository)
        return await self._uploads.start(repository, algorithm, owner, quota)

    async def upload_offset(self, repository: str, upload: str) -> int:
        """Return how many bytes have arrived."""
        return self._uploads.offset(repository, upload)

    async def append(
        self, repository: str, upload: str, body: AsyncIterator[bytes], start: int | None = None
    ) -> int:
        """Write `body` to the end of an upload; return the new end."""
        self._require_room(repository)
        quota = await self._quota(repository)
        return await self._uploads.append(repository, upload, body, start, quota)

    async def finish_upload(self, repository: str, upload: str, digest: Digest) -> None:
        """Turn an upload into the blob `digest`."""
        with storing(repository), self._uploads.sealing(repository, upload) as sealed:
            allowed = Allowance(repository, await self._quota(repository))
            target = await asyncio.to_thread(self._repositories.create, repository)
            link = target.blob_link(digest)
            await run_whole(
                lambda: self._contents.adopt(sealed.verified(digest), digest, link, allowed)
            )

    async def cancel_upload(self, repository: str, upload: str) -> None:
        """Drop an upload."""
        self._uploads.cancel(repository, upload)

    async def _quota(self, repository: str) -> StorageQuota | None:
        """Return the quota for content of a repository, whose namespace is counted by then."""
        quota = await self._quota_of(repository)
        if quota is not None:
            await self.storage_used(namespace_of(repository))
        return quota

    def _require_room(self, repository: str) -> None:
        if why := self._pressure():
            raise StorageFullError(repository, why)

    async def _find(self, name: str) -> Repository | None:
        return self._repositories.loaded(name) or await asyncio.to_thread(
            self._repositories.find, name
        )

    def _hint(self, actor: str) -> TagHook:
        """Return what a thread calls after it set a tag, even if its caller was cancelled."""
        loop = asyncio.get_running_loop()

        def tagged(repository: str, tag: str, entry: ManifestEntry) -> None:
            event = PushEvent(repository, tag, entry.digest, entry.media_type, actor)
            loop.call_soon_threadsafe(self._announce, event)

        return tagged

    def _announce(self, event: PushEvent) -> None:
        for listener in self._listeners:
            listener(event)

    def _empty_temporary(self) -> None:
        make_directories(self._temporary)
        for path in self._temporary.iterdir():
            path.unlink()

    def _collect_garbage(self, upload_before: float, unused_before: float) -> CollectedGarbage:
        uploads = self._uploads.expire(upload_before)
        blobs = 0
        for name in list(self._repositories.all_names()):
            blobs += self._repositories.create(name).remove_unused_blobs(unused_before)
        return CollectedGarbage(uploads, blobs, self._contents.collect(unused_before))
