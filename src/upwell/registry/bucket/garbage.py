"""Garbage collection of a bucket, beside pushes and mounts of every replica."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from upwell.registry.bucket.contents import CONDEMNED, ROOT, key_of
from upwell.registry.bucket.indexes import RepositoryIndexes
from upwell.registry.bucket.uploads import BucketUploads
from upwell.registry.hosting import CollectedGarbage
from upwell.registry.s3.client import S3Bucket

_AT_ONCE = 1000
"""Contents that are condemned together, for one reading of all indexes."""

_YOUNG = 3600.0
"""Seconds for which content stays whatever is asked: it is about to be linked. More than the
clocks of a replica and of the endpoint may differ by, which refuses requests from 15 minutes on."""


@dataclass(frozen=True, slots=True)
class BucketGarbage:
    """Collector of what nothing links. Every method raises a BucketError.

    Content is condemned before the indexes are read, and stays so until it is gone: a collector
    that was stopped meanwhile, and goes on much later, removes nothing that was linked since.
    """

    bucket: S3Bucket
    indexes: RepositoryIndexes
    uploads: BucketUploads = field(repr=False)
    clock: Callable[[], float]

    async def collect(self, upload_before: float, unused_before: float) -> CollectedGarbage:
        """Remove uploads and content that nobody has used since then (epoch)."""
        uploads = await self.uploads.expire(upload_before)
        blobs = 0
        async for name, etag in self.indexes.names():
            blobs += await self._remove_blobs(name, etag, unused_before)
        contents = 0
        known = await self._linked()
        async for batch in self._unlinked(known, min(unused_before, self.clock() - _YOUNG)):
            contents += await self._remove(batch)
        await self._remove_marks()
        return CollectedGarbage(uploads, blobs, contents)

    async def _remove_blobs(self, name: str, etag: str, before: float) -> int:
        """Take the unused blobs out of a repository; large indexes are looked at on a thread."""
        seen = await self.indexes.known(name, etag)
        unused = await asyncio.to_thread(seen.unused_blobs, before)
        if not unused:
            return 0
        return await self.indexes.change(
            name, lambda index: index.remove_unused_blobs(unused, seen, before)
        )

    async def _unlinked(self, known: set[str], before: float) -> AsyncIterator[list[str]]:
        batch = list[str]()
        async for one in self.bucket.objects(ROOT):
            content = one.key.removeprefix(ROOT)
            if content not in known and one.changed < before:
                batch.append(content)
                if len(batch) == _AT_ONCE:
                    yield batch
                    batch = []
        if batch:
            yield batch

    async def _remove(self, batch: list[str]) -> int:
        for content in batch:
            await self.bucket.put(f"{CONDEMNED}{content}", b"")
        known = await self._linked()
        gone = [content for content in batch if content not in known]
        for content in gone:
            await self.bucket.delete(key_of(content))
            await self.bucket.delete(f"{CONDEMNED}{content}")
        return len(gone)

    async def _remove_marks(self) -> None:
        """Remove the marks of content that is gone, which killed collectors have left."""
        marks = [one.key async for one in self.bucket.objects(CONDEMNED)]
        for key in marks:
            if await self.bucket.size(key_of(key.removeprefix(CONDEMNED))) is None:
                await self.bucket.delete(key)

    async def _linked(self) -> set[str]:
        """Return the IDs of all content that is linked, or belongs to an upload.

        Uploads first: one that ends meanwhile has been linked by then.
        """
        found = {one for state in await self.uploads.states() for one in state.contents}
        async for name, etag in self.indexes.names():
            index = await self.indexes.known(name, etag)
            found.update(index.stored())
            await asyncio.to_thread(found.update, (link.content for link in index.links()))
        return found
