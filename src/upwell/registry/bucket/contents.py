"""Content of a bucket: written once under a name of its own, and verified whenever it is read."""

import contextlib
import hashlib
import logging
import uuid
from collections import OrderedDict
from collections.abc import AsyncIterator

from upwell.oci import Digest
from upwell.registry.bucket.index import ContentLink
from upwell.registry.errors import BlobUnknownError, DigestMismatchError
from upwell.registry.s3.client import S3Bucket
from upwell.registry.s3.errors import BucketAnswerError, BucketRefusedError

log = logging.getLogger(__name__)

ROOT, CONDEMNED = "contents/", "condemned/"
_CACHED_BYTES = 64 * 1024 * 1024
_MOST_CACHED = 4 * 1024 * 1024
"""Of one content: the largest manifest."""
_MOST_READ_WHOLE = _MOST_CACHED // 16
"""Bytes of content that is read at once; what is larger is streamed."""


def key_of(content: str) -> str:
    """Return the key of content."""
    return f"{ROOT}{content}"


class BucketContents:
    """Content by its ID. Every method raises a BucketError."""

    def __init__(self, bucket: S3Bucket) -> None:
        self._bucket = bucket
        self._cached: OrderedDict[str, bytes] = OrderedDict()
        self._size = 0
        self._damaged: dict[str, tuple[str, Digest]] = {}
        """ID -> the repository where it was met, and what it should be."""

    async def write(self, raw: bytes) -> str:
        """Write content that was verified, and return its ID."""
        content = uuid.uuid4().hex
        await self._bucket.put(key_of(content), raw)
        self._keep(content, raw)
        return content

    def is_damaged(self, link: ContentLink) -> bool:
        """Return True if content is known not to be what it was."""
        return link.content in self._damaged

    def damage(self) -> dict[str, tuple[str, Digest]]:
        """Return the IDs of damaged content, with repository and digest."""
        return dict(self._damaged)

    def forget_damage(self, content: str) -> None:
        """Take note that content is whole again, or not linked any more."""
        self._damaged.pop(content, None)

    async def read(self, repository: str, digest: Digest, link: ContentLink) -> bytes:
        """Return small content, verified; raises BlobUnknownError where it is not what it was."""
        if (raw := self._cached.get(link.content)) is not None:
            self._cached.move_to_end(link.content)
            return raw
        # The first look may have been spoiled on its way.
        raw = await self._whole(digest, link) or await self._whole(digest, link)
        if raw is None:
            self._note_damage(repository, digest, link)
            raise BlobUnknownError(repository, digest)
        self._keep(link.content, raw)
        return raw

    async def is_whole(self, digest: Digest, link: ContentLink) -> bool:
        """Look at content once more; return True if it is what it should be."""
        if link.size <= _MOST_READ_WHOLE:
            return await self._whole(digest, link) is not None
        try:
            return await self.digest(link.content, link.size, digest.algorithm) == digest
        except BucketAnswerError:  # gone, or not as long as it was
            return False

    async def _whole(self, digest: Digest, link: ContentLink) -> bytes | None:
        try:
            found = await self._bucket.get(key_of(link.content), max(link.size, 1))
        except BucketAnswerError:  # longer than it was
            return None
        return found.raw if found is not None and digest.matches(found.raw) else None

    async def read_exactly(self, content: str, size: int) -> bytes:
        """Return content of a known size that has no digest yet."""
        if (raw := self._cached.get(content)) is not None:
            return raw
        found = await self._bucket.get(key_of(content), size)
        if found is None or len(found.raw) != size:
            raise BucketAnswerError(self._bucket.name, "an upload lost its last bytes")
        return found.raw

    @contextlib.asynccontextmanager
    async def stream(
        self, repository: str, digest: Digest, link: ContentLink, span: range
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """Stream a span of content; of the whole, the last piece comes once all is verified.

        Raises BlobUnknownError on entry, and DigestMismatchError while it is read.
        """
        if not span:
            yield _pieces(b"")
            return
        if link.size <= _MOST_READ_WHOLE or link.content in self._cached:
            raw = await self.read(repository, digest, link)
            yield _pieces(raw[span.start : span.stop])
            return
        try:
            async with self._bucket.stream(key_of(link.content), span) as pieces:
                if pieces is None:
                    self._note_damage(repository, digest, link)
                    raise BlobUnknownError(repository, digest)
                if span == range(link.size):
                    yield self._verified(pieces, repository, digest, link)
                else:
                    yield pieces
        except (BucketAnswerError, BucketRefusedError):
            # An answer may break off on its way; content that is shorter than it was does not heal.
            if await self._bucket.size(key_of(link.content)) != link.size:
                self._note_damage(repository, digest, link)
            raise

    async def digest(self, content: str, size: int, algorithm: str) -> Digest:
        """Return the digest of content that is in the bucket, by reading it."""
        hasher = hashlib.new(algorithm)
        if size:
            async with self._bucket.stream(key_of(content), range(size)) as pieces:
                if pieces is None:
                    raise BucketAnswerError(self._bucket.name, "what was written is not there")
                async for piece in pieces:
                    hasher.update(piece)
        return Digest(algorithm, hasher.hexdigest())

    async def _verified(
        self, pieces: AsyncIterator[bytes], repository: str, digest: Digest, link: ContentLink
    ) -> AsyncIterator[bytes]:
        hasher = hashlib.new(digest.algorithm)
        held = b""
        async for piece in pieces:
            hasher.update(piece)
            if held:
                yield held
            held = piece
        actual = Digest(digest.algorithm, hasher.hexdigest())
        if actual != digest:
            if await self.digest(link.content, link.size, digest.algorithm) != digest:
                self._note_damage(repository, digest, link)
            raise DigestMismatchError(repository, digest, actual)
        yield held

    def _note_damage(self, repository: str, digest: Digest, link: ContentLink) -> None:
        if link.content not in self._damaged:
            extra = {"repository": repository, "digest": str(digest), "key": key_of(link.content)}
            log.error("damaged in the bucket, or missing; it is not served", extra=extra)
            self._damaged[link.content] = repository, digest

    def _keep(self, content: str, raw: bytes) -> None:
        if len(raw) > _MOST_CACHED or content in self._cached:
            return
        self._cached[content] = raw
        self._size += len(raw)
        while self._size > _CACHED_BYTES:
            _, dropped = self._cached.popitem(last=False)
            self._size -= len(dropped)


async def _pieces(raw: bytes) -> AsyncIterator[bytes]:
    yield raw
