"""Lookups of content in an index, as long as the content is known to be what it was."""

import logging
from dataclasses import dataclass

from upwell.oci import Digest
from upwell.registry.bucket.contents import BucketContents
from upwell.registry.bucket.index import ContentLink, IndexedManifest, RepositoryIndex
from upwell.registry.bucket.indexes import FRESH, RepositoryIndexes
from upwell.registry.errors import BlobUnknownError

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ContentLookups:
    """Questions about one digest; they raise a BucketError."""

    indexes: RepositoryIndexes
    contents: BucketContents

    async def manifest(self, repository: str, digest: Digest) -> IndexedManifest | None:
        """Return a manifest of a repository; None: there is none, or it is damaged."""
        found = (await self.indexes.read(repository, age=FRESH)).manifests.get(digest)
        if found is None:  # another replica may have it since
            found = (await self.indexes.read(repository)).manifests.get(digest)
        return None if found is None or self.contents.is_damaged(found.link) else found

    async def has_whole(self, repository: str, digest: Digest) -> bool:
        """Return True if a manifest is there, and nothing that it names is known to be damaged."""
        found = await self.manifest(repository, digest)
        if found is None or not self.contents.damage():
            return found is not None
        index = await self.indexes.read(repository, age=FRESH)
        links = (index.link(one) for one in found.needs)
        return not any(one is not None and self.contents.is_damaged(one) for one in links)

    async def blob(self, repository: str, digest: Digest) -> ContentLink:
        """Return where a blob of a repository is; raises BlobUnknownError."""
        link = (await self.indexes.read(repository, age=FRESH)).blobs.get(digest)
        if link is None:
            link = (await self.indexes.read(repository)).blobs.get(digest)
        if link is None or self.contents.is_damaged(link):
            raise BlobUnknownError(repository, digest)
        return link

    def holds(self, index: RepositoryIndex, digest: Digest) -> bool:
        """Return True if a repository with this index has content, undamaged."""
        link = index.link(digest)
        return link is not None and not self.contents.is_damaged(link)

    async def look_again(self) -> int:
        """Look at what was met as damaged; return the bytes of that.

        What is whole is served again, as the storage or the way from there may have been at fault,
        and what nothing links any more is forgotten.
        """
        size = 0
        for content, (repository, digest) in self.contents.damage().items():
            link = (await self.indexes.read(repository)).link(digest)
            if link is not None and link.content == content:
                size += link.size
                if not await self.contents.is_whole(digest, link):
                    continue
                extra = {"repository": repository, "digest": str(digest)}
                log.info("whole in the bucket after all; it is served again", extra=extra)
            self.contents.forget_damage(content)
        return size
