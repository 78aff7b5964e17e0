"""Pushes of manifests: what they need is checked again in the moment in which they are indexed."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from upwell.oci import Digest
from upwell.registry.bucket.contents import BucketContents
from upwell.registry.bucket.index import ContentLink, IndexedManifest, RepositoryIndex
from upwell.registry.bucket.indexes import RepositoryIndexes
from upwell.registry.bucket.lookups import ContentLookups
from upwell.registry.bucket.usage import BucketUsage
from upwell.registry.errors import DigestMismatchError
from upwell.registry.hosted.documents import examine, is_index
from upwell.registry.hosted.limits import StorageLimits
from upwell.registry.hosting import (
    FindQuota,
    ManifestContentUnknownError,
    ManifestEntry,
    ManifestPush,
    StorageQuota,
)
from upwell.registry.interface import PushEvent


@dataclass(frozen=True, slots=True)
class ManifestPushes:
    """Manifests on their way into indexes. Methods raise what HostedRegistry says."""

    indexes: RepositoryIndexes
    contents: BucketContents
    lookups: ContentLookups
    usage: BucketUsage
    limits: StorageLimits
    clock: Callable[[], float]
    quota: FindQuota
    announce: Callable[[PushEvent], None]

    async def check(self, push: ManifestPush) -> None:
        """Raise what the document, its content or its tag would be refused for."""
        await self._checked(self._complete(push))

    async def _checked(self, push: ManifestPush) -> IndexedManifest:
        """Return what the index would say of a document, whose content is not written yet."""
        manifest = _examined(push, ContentLink("", len(push.raw), self.clock()))
        index = await self.indexes.read(push.repository)
        self._require_content(index, push, manifest)
        await self._require_tag(index, push, await self.quota(push.repository))
        return manifest

    async def put(self, push: ManifestPush) -> ManifestEntry:
        """Check and store a manifest, and set its tag."""
        push = self._complete(push)
        checked = await self._checked(push)
        now = self.clock()
        known = await self.lookups.manifest(push.repository, checked.entry.digest)
        if known is not None:
            manifest = replace(known, link=replace(known.link, used=now))
            if await self._put(push, manifest, known.link):
                return manifest.entry
        quota = await self.quota(push.repository)
        await self.usage.require(push.repository, len(push.raw), quota)
        content = await self.contents.write(push.raw)
        manifest = replace(checked, link=ContentLink(content, len(push.raw), now))
        await self._put(push, manifest)
        return manifest.entry

    async def _put(
        self, push: ManifestPush, manifest: IndexedManifest, known: ContentLink | None = None
    ) -> bool:
        """Index a manifest; False if the content that was `known` was let go of meanwhile."""
        entry = manifest.entry

        def put(index: RepositoryIndex) -> tuple[bool, IndexedManifest | None]:
            before = index.manifests.get(entry.digest)
            if known and (before is None or before.link.content != known.content):
                return False, before
            self._require_content(index, push, manifest)
            index.manifests[entry.digest] = manifest
            if push.tag is not None:
                index.set_tag(push.tag, entry.digest, manifest.link.used)
            return True, before

        is_put, before = await self.indexes.change(push.repository, put)
        if is_put and before is not None and before.link.content != manifest.link.content:
            self.contents.forget_damage(before.link.content)
        if is_put and push.tag is not None:
            name, kind = push.repository, entry.media_type
            self.announce(PushEvent(name, push.tag, entry.digest, kind, push.actor))
        return is_put

    def _require_content(
        self, index: RepositoryIndex, push: ManifestPush, manifest: IndexedManifest
    ) -> None:
        missing = [digest for digest in manifest.needs if not self.lookups.holds(index, digest)]
        if missing and not push.sparse:
            raise ManifestContentUnknownError(push.repository, missing)

    async def _require_tag(
        self, index: RepositoryIndex, push: ManifestPush, quota: StorageQuota | None
    ) -> None:
        if push.tag is not None and push.tag not in index.tags:
            await self.usage.require(push.repository, 0, quota)

    def _complete(self, push: ManifestPush) -> ManifestPush:
        is_sparse = self.limits.sparse_indexes and is_index(push.media_type)
        return replace(push, sparse=True) if is_sparse else push


def _examined(push: ManifestPush, link: ContentLink) -> IndexedManifest:
    """Check a pushed document, and return what the index says of it."""
    digest = push.digest or Digest.of(push.raw)
    if not digest.matches(push.raw):
        actual = Digest.of(push.raw, algorithm=digest.algorithm)
        raise DigestMismatchError(push.repository, digest, actual)
    entry, content = examine(push.raw, digest, push.media_type)
    needs = {item.digest: item.size for item in content}
    return IndexedManifest(entry, link, needs, is_index(entry.media_type))
