"""Answers of S3, read within limits; no message quotes one, but for the code of its error."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from http import HTTPStatus

from upwell.outbound.http.client import OutboundResponse
from upwell.registry.s3 import documents
from upwell.registry.s3.documents import DocumentError
from upwell.registry.s3.errors import BucketAnswerError, BucketRefusedError

_ERROR_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class S3Answer:
    """Answer whose head was read, of the bucket that is named so. Methods raise BucketErrors."""

    response: OutboundResponse
    bucket: str

    @property
    def status(self) -> int:
        """Status of HTTP."""
        return self.response.status

    @property
    def length(self) -> int:
        """Bytes of the object of a HEAD."""
        # The answer for an empty object may leave its length out (RFC 9110, 8.6).
        return self.response.content_length or 0

    @property
    def any_etag(self) -> str:
        """ETag; empty where none was told."""
        return self.response.headers.get("ETag", "")

    @property
    def etag(self) -> str:
        """ETag of what was written."""
        if not self.any_etag:
            raise BucketAnswerError(self.bucket, "what was written has no ETag")
        return self.any_etag

    async def is_missing(self, what: str) -> bool:
        """Tell whether the object is not there; raises what a refusal to do `what` means."""
        if self.status == HTTPStatus.NOT_FOUND:
            code = await self.code()
            if code == "NoSuchBucket":
                raise BucketRefusedError(self.bucket, what, self.status, code)
            return True
        await self.require(what)
        return False

    async def require(self, what: str) -> None:
        """Raise BucketRefusedError unless `what` was done."""
        if not HTTPStatus.OK <= self.status < HTTPStatus.MULTIPLE_CHOICES:
            raise BucketRefusedError(self.bucket, what, self.status, await self.code())

    async def code(self) -> str:
        """Return the code of an error; empty where none was told."""
        try:
            return documents.error_code(await self.read(_ERROR_BYTES))
        except BucketAnswerError:
            return ""

    async def document(self) -> bytes:
        """Return the bytes of a document."""
        return await self.read(documents.MAX_BYTES)

    async def parsed[T](self, parse: Callable[[bytes], T]) -> T:
        """Return what a document says; raises BucketAnswerError for one that is none."""
        raw = await self.document()
        try:
            return parse(raw)
        except DocumentError as error:
            raise BucketAnswerError(self.bucket, str(error)) from error

    async def read(self, limit: int) -> bytes:
        """Return the body, of at most `limit` bytes."""
        pieces, size = [], 0
        while piece := await self.response.read():
            size += len(piece)
            if size > limit:
                raise BucketAnswerError(self.bucket, f"more than {limit} bytes")
            pieces.append(piece)
        return b"".join(pieces)

    async def pieces(self, size: int) -> AsyncIterator[bytes]:
        """Stream a body of so many bytes, neither more nor fewer."""
        while piece := await self.response.read():
            size -= len(piece)
            if size < 0:
                raise BucketAnswerError(self.bucket, "more bytes than were asked for")
            yield piece
        if size:
            raise BucketAnswerError(self.bucket, "fewer bytes than were asked for")
