"""Objects of one bucket of S3-compatible storage, and its multipart uploads."""

import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus

from upwell.outbound.dialing import Dialer
from upwell.registry.s3 import documents
from upwell.registry.s3.credentials import CredentialsFile
from upwell.registry.s3.documents import ListedObject, ListedUpload, ListingPage
from upwell.registry.s3.errors import (
    BucketAnswerError,
    BucketRefusedError,
    BucketUnavailableError,
    PreconditionError,
    UploadGoneError,
)
from upwell.registry.s3.requests import (
    DEFAULT_TIMEOUTS,
    BucketLocation,
    S3Requests,
    S3Timeouts,
)

_BROKEN_PARTS = frozenset({"InvalidPart", "InvalidPartOrder"})


@dataclass(frozen=True, slots=True)
class S3Object:
    """Object that was read, whole."""

    raw: bytes = field(repr=False)
    etag: str


@dataclass(frozen=True, slots=True)
class IfMatch:
    """Condition of a write: the object has this ETag; None: there is no object."""

    etag: str | None


class S3Bucket:
    """Objects of one bucket, by keys without the prefix. Every method raises a BucketError.

    `clock` gives seconds since the epoch. Close it after use.
    """

    def __init__(
        self,
        location: BucketLocation,
        credentials: CredentialsFile,
        dialer: Dialer,
        timeouts: S3Timeouts = DEFAULT_TIMEOUTS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.location = location
        self._requests = S3Requests(location, credentials, dialer, timeouts, clock)

    @property
    def name(self) -> str:
        """Name for people."""
        return self.location.name

    async def aclose(self) -> None:
        """Close every connection."""
        await self._requests.aclose()

    async def get(self, key: str, limit: int, unless: str = "") -> S3Object | None:
        """Return an object of at most `limit` bytes; None: there is none.

        With the ETag `unless`, an object that still has it is returned with this ETag and without
        bytes.
        """
        headers = {"If-None-Match": unless} if unless else {}
        async with self._requests.open("read", "GET", key, headers=headers) as answer:
            if answer.status == HTTPStatus.NOT_MODIFIED:
                return S3Object(b"", unless)
            if await answer.is_missing(f"read {key}"):
                return None
            return S3Object(await answer.read(limit), answer.any_etag)

    async def size(self, key: str) -> int | None:
        """Return the bytes of an object; None: there is none."""
        async with self._requests.open("read", "HEAD", key) as answer:
            if answer.status == HTTPStatus.NOT_FOUND:
                return None
            await answer.require(f"read {key}")
            return answer.length

    @asynccontextmanager
    async def stream(self, key: str, span: range) -> AsyncIterator[AsyncIterator[bytes] | None]:
        """Stream the bytes of `span`, which is not empty; None: there is no object."""
        headers = {"Range": f"bytes={span.start}-{span.stop - 1}"}
        async with self._requests.open("read", "GET", key, headers=headers, is_body=True) as answer:
            if await answer.is_missing(f"read {key}"):
                yield None
            elif answer.status != HTTPStatus.PARTIAL_CONTENT:
                raise BucketAnswerError(self.name, "it does not answer ranges")
            else:
                yield answer.pieces(len(span))

    async def put(self, key: str, raw: bytes, condition: IfMatch | None = None) -> str:
        """Write an object, and return its ETag; raises PreconditionError."""
        headers: dict[str, str] = {}
        if condition is not None:
            headers = (
                {"If-None-Match": "*"} if condition.etag is None else {"If-Match": condition.etag}
            )
        async with self._requests.open("write", "PUT", key, headers=headers, raw=raw) as answer:
            lost = {HTTPStatus.PRECONDITION_FAILED, HTTPStatus.CONFLICT}
            is_gone = condition is not None and condition.etag is not None
            if condition is not None and answer.status in lost:
                raise PreconditionError(self.name, key)
            if answer.status == HTTPStatus.NOT_FOUND and is_gone:
                code = await answer.code()
                if code in {"NoSuchKey", ""}:
                    raise PreconditionError(self.name, key)
                raise BucketRefusedError(self.name, f"write {key}", answer.status, code)
            await answer.require(f"write {key}")
            return answer.etag

    async def delete(self, key: str) -> None:
        """Remove an object; one that is not there is removed."""
        async with self._requests.open("delete", "DELETE", key) as answer:
            if not await answer.is_missing(f"delete {key}"):
                await answer.require(f"delete {key}")

    async def objects(self, prefix: str) -> AsyncIterator[ListedObject]:
        """Yield the objects whose keys begin with `prefix`, in their order."""
        query = [("list-type", "2"), ("prefix", f"{self.location.prefix}{prefix}")]
        async for one in self._pages(query, documents.objects_page):
            yield ListedObject(self._own(one.key), one.size, one.changed, one.etag)

    # Multipart uploads

    async def begin_upload(self, key: str) -> str:
        """Begin a multipart upload, and return its id."""
        async with self._requests.open("write", "POST", key, [("uploads", "")], raw=b"") as answer:
            await answer.require(f"write {key}")
            return await answer.parsed(documents.upload_id)

    async def put_part(self, key: str, upload: str, number: int, raw: bytes) -> str:
        """Write a part, and return its ETag; all but the last have at least 5 MiB.

        Raises UploadGoneError.
        """
        query = [("partNumber", str(number)), ("uploadId", upload)]
        async with self._requests.open("write", "PUT", key, query, raw=raw) as answer:
            if await answer.is_missing(f"write {key}"):
                raise UploadGoneError(self.name, key)
            await answer.require(f"write {key}")
            return answer.etag

    async def complete_upload(self, key: str, upload: str, parts: Sequence[str]) -> None:
        """Make the object of its parts, by their ETags; raises UploadGoneError."""
        raw = documents.completion(parts)
        query = [("uploadId", upload)]
        try:
            async with self._requests.open("write", "POST", key, query, raw=raw) as answer:
                if await answer.is_missing(f"write {key}"):
                    raise UploadGoneError(self.name, key)
                await answer.require(f"write {key}")
                # An error may come after the head of an answer that was begun early.
                if code := documents.error_code(await answer.document()):
                    raise BucketUnavailableError(self.name, f"it could not complete {key}: {code}")
        except BucketRefusedError as error:
            if error.code in _BROKEN_PARTS:
                raise UploadGoneError(self.name, key) from error
            raise

    async def abort_upload(self, key: str, upload: str) -> None:
        """Drop a multipart upload and its parts; one that is over is dropped."""
        async with self._requests.open("delete", "DELETE", key, [("uploadId", upload)]) as answer:
            if not await answer.is_missing(f"delete {key}"):
                await answer.require(f"delete {key}")

    async def uploads(self, prefix: str) -> AsyncIterator[ListedUpload]:
        """Yield the multipart uploads whose keys begin with `prefix`."""
        query = [("uploads", ""), ("prefix", f"{self.location.prefix}{prefix}")]
        async for one in self._pages(query, documents.uploads_page):
            yield ListedUpload(self._own(one.key), one.upload, one.begun)

    async def _pages[T](
        self, query: Sequence[tuple[str, str]], parse: Callable[[bytes], ListingPage[T]]
    ) -> AsyncIterator[T]:
        following: Sequence[tuple[str, str]] = ()
        while True:
            async with self._requests.open("list", "GET", None, [*query, *following]) as answer:
                await answer.require("list objects")
                page = await answer.parsed(parse)
            for item in page.items:
                yield item
            if not page.following:
                return
            if page.following == following:
                raise BucketAnswerError(self.name, "the next page of a listing is the same one")
            following = page.following

    def _own(self, key: str) -> str:
        if not key.startswith(self.location.prefix):
            raise BucketAnswerError(self.name, "a listing has keys that were not asked for")
        return key.removeprefix(self.location.prefix)
