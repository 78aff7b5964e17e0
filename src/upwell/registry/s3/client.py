"""Client of one bucket over the connections of `upwell.outbound`, which judge every address.

Requests that S3 asks to repeat (500, 503 SlowDown, 429, a lost connection) are repeated a few times
here and not by the callers: a push of gigabytes is not to fail for one of its parts. All of them
may be repeated: conditional writes tell by their content who has won.
"""

import asyncio
import hashlib
import ssl
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from random import random

from upwell.outbound.dialing import Dialer
from upwell.outbound.http.client import OutboundClient, OutboundResponse
from upwell.outbound.http.errors import HttpError, NoConnectionError
from upwell.outbound.http.messages import Body, HttpOrigin, OutboundRequest
from upwell.outbound.http.pool import ConnectionPool
from upwell.outbound.http.urls import HttpUrl
from upwell.outbound.policy import ForbiddenAddressError
from upwell.registry.s3 import documents
from upwell.registry.s3.credentials import CredentialsFile
from upwell.registry.s3.documents import DocumentError, ListedObject, ListedUpload, ListingPage
from upwell.registry.s3.errors import (
    STALE_CREDENTIALS,
    BucketAnswerError,
    BucketError,
    BucketRefusedError,
    BucketUnavailableError,
    PreconditionError,
    UploadGoneError,
)
from upwell.registry.s3.signing import UNSIGNED, S3Request, signed_headers

_CONNECTIONS = 64
_TRIES = 4
_HASHED_IN_THREAD = 256 * 1024
_PIECE = 256 * 1024
_BUSY = frozenset({429, 500, 502, 503, 504})
_REFUSED = frozenset({400, 401, 403})
_BROKEN_PARTS = frozenset({"InvalidPart", "InvalidPartOrder"})
_ERROR_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class BucketLocation:
    """Bucket of an endpoint; `endpoint` is its URL, `prefix` begins all keys, empty or with a /."""

    endpoint: HttpUrl
    bucket: str
    region: str = "us-east-1"
    prefix: str = ""
    path_style: bool = True
    """The bucket is the beginning of the path; else, of the host's name."""
    ca_file: Path | None = None

    @property
    def name(self) -> str:
        """Name for people, without a secret."""
        return f"bucket {self.bucket} at {self.endpoint.authority}"


@dataclass(frozen=True, slots=True)
class S3Timeouts:
    """Seconds: to connect, for a whole small request, and between two pieces of a body."""

    connect: float = 10.0
    request: float = 60.0
    idle: float = 30.0
    body: float = 3600.0
    backoff: float = 0.2
    """Before the first repetition; twice as long before each further one, with jitter."""


DEFAULT_TIMEOUTS = S3Timeouts()


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
        self._credentials = credentials
        self._dialer = dialer
        self._timeouts = timeouts
        self._clock = clock
        self._client: OutboundClient | None = None
        self._origin: HttpOrigin | None = None

    @property
    def name(self) -> str:
        """Name for people."""
        return self.location.name

    async def aclose(self) -> None:
        """Close every connection."""
        if self._client is not None:
            await self._client.aclose()

    async def get(self, key: str, limit: int, unless: str = "") -> S3Object | None:
        """Return an object of at most `limit` bytes; None: there is none.

        With the ETag `unless`, an object that still has it is returned with this ETag and without
        bytes.
        """
        headers = {"If-None-Match": unless} if unless else {}
        async with self._open("read", "GET", key, headers=headers) as response:
            if response.status == HTTPStatus.NOT_MODIFIED:
                return S3Object(b"", unless)
            if await self._is_missing(response, f"read {key}"):
                return None
            raw = await self._read(response, limit)
            return S3Object(raw, response.headers.get("ETag", ""))

    async def size(self, key: str) -> int | None:
        """Return the bytes of an object; None: there is none."""
        async with self._open("read", "HEAD", key) as response:
            if response.status == HTTPStatus.NOT_FOUND:
                return None
            await self._require(response, f"read {key}")
            # The answer to a HEAD for an empty object may leave its length out (RFC 9110, 8.6).
            return response.content_length or 0

    @asynccontextmanager
    async def stream(self, key: str, span: range) -> AsyncIterator[AsyncIterator[bytes] | None]:
        """Stream the bytes of `span`, which is not empty; None: there is no object."""
        headers = {"Range": f"bytes={span.start}-{span.stop - 1}"}
        async with self._open("read", "GET", key, headers=headers, is_body=True) as response:
            if await self._is_missing(response, f"read {key}"):
                yield None
            elif response.status != HTTPStatus.PARTIAL_CONTENT:
                raise BucketAnswerError(self.name, "it does not answer ranges")
            else:
                yield self._pieces(response, len(span))

    async def put(self, key: str, raw: bytes, condition: IfMatch | None = None) -> str:
        """Write an object, and return its ETag; raises PreconditionError."""
        headers: dict[str, str] = {}
        if condition is not None:
            headers = (
                {"If-None-Match": "*"} if condition.etag is None else {"If-Match": condition.etag}
            )
        async with self._open("write", "PUT", key, headers=headers, raw=raw) as response:
            lost = {HTTPStatus.PRECONDITION_FAILED, HTTPStatus.CONFLICT}
            is_gone = condition is not None and condition.etag is not None
            if condition is not None and response.status in lost:
                raise PreconditionError(self.name, key)
            if response.status == HTTPStatus.NOT_FOUND and is_gone:
                code = await self._code(response)
                if code in {"NoSuchKey", ""}:
                    raise PreconditionError(self.name, key)
                raise BucketRefusedError(self.name, f"write {key}", response.status, code)
            await self._require(response, f"write {key}")
            return self._etag(response)

    async def delete(self, key: str) -> None:
        """Remove an object; one that is not there is removed."""
        async with self._open("delete", "DELETE", key) as response:
            if not await self._is_missing(response, f"delete {key}"):
                await self._require(response, f"delete {key}")

    async def objects(self, prefix: str) -> AsyncIterator[ListedObject]:
        """Yield the objects whose keys begin with `prefix`, in their order."""
        query = [("list-type", "2"), ("prefix", f"{self.location.prefix}{prefix}")]
        async for one in self._pages(query, documents.objects_page):
            yield ListedObject(self._own(one.key), one.size, one.changed, one.etag)

    # Multipart uploads

    async def begin_upload(self, key: str) -> str:
        """Begin a multipart upload, and return its id."""
        async with self._open("write", "POST", key, [("uploads", "")], raw=b"") as response:
            await self._require(response, f"write {key}")
            return self._parsed(documents.upload_id, await self._document(response))

    async def put_part(self, key: str, upload: str, number: int, raw: bytes) -> str:
        """Write a part, and return its ETag; all but the last have at least 5 MiB.

        Raises UploadGoneError.
        """
        query = [("partNumber", str(number)), ("uploadId", upload)]
        async with self._open("write", "PUT", key, query, raw=raw) as response:
            if await self._is_missing(response, f"write {key}"):
                raise UploadGoneError(self.name, key)
            await self._require(response, f"write {key}")
            return self._etag(response)

    async def complete_upload(self, key: str, upload: str, parts: Sequence[str]) -> None:
        """Make the object of its parts, by their ETags; raises UploadGoneError."""
        raw = documents.completion(parts)
        query = [("uploadId", upload)]
        try:
            async with self._open("write", "POST", key, query, raw=raw) as response:
                if await self._is_missing(response, f"write {key}"):
                    raise UploadGoneError(self.name, key)
                await self._require(response, f"write {key}")
                # An error may come after the head of an answer that was begun early.
                if code := documents.error_code(await self._document(response)):
                    raise BucketUnavailableError(self.name, f"it could not complete {key}: {code}")
        except BucketRefusedError as error:
            if error.code in _BROKEN_PARTS:
                raise UploadGoneError(self.name, key) from error
            raise

    async def abort_upload(self, key: str, upload: str) -> None:
        """Drop a multipart upload and its parts; one that is over is dropped."""
        async with self._open("delete", "DELETE", key, [("uploadId", upload)]) as response:
            if not await self._is_missing(response, f"delete {key}"):
                await self._require(response, f"delete {key}")

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
            async with self._open("list", "GET", None, [*query, *following]) as response:
                await self._require(response, "list objects")
                page = self._parsed(parse, await self._document(response))
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

    # One request

    @asynccontextmanager
    async def _open(
        self,
        what: str,
        method: str,
        key: str | None,
        query: Sequence[tuple[str, str]] = (),
        *,
        headers: Mapping[str, str] | None = None,
        raw: bytes | None = None,
        is_body: bool = False,
    ) -> AsyncIterator[OutboundResponse]:
        call = _Call(method, self._request_path(key), query, headers or {}, raw, is_body)
        response = await self._sent(what, call)
        try:
            yield response
        except HttpError as error:
            raise BucketUnavailableError(self.name, _why(error)) from error
        except TimeoutError as error:
            raise BucketUnavailableError(self.name, "its answer has stopped") from error
        finally:
            response.release()

    async def _sent(self, what: str, call: "_Call") -> OutboundResponse:
        is_renewed = False
        for attempt in range(1, _TRIES + 1):
            failure: BucketError
            try:
                response = await self._answer(call)
            except BucketUnavailableError as error:
                failure = error
            else:
                if response.status in _REFUSED:
                    try:
                        code = await self._code(response)
                    finally:
                        response.release()
                    failure = BucketRefusedError(self.name, what, response.status, code)
                    if is_renewed or code not in STALE_CREDENTIALS:
                        raise failure
                    is_renewed = True
                elif response.status in _BUSY:
                    response.release()
                    failure = BucketUnavailableError(self.name, f"HTTP {response.status}")
                else:
                    return response
            if attempt == _TRIES:
                break
            await asyncio.sleep(self._timeouts.backoff * 2 ** (attempt - 1) * (0.5 + random()))  # noqa: S311
        raise failure

    async def _answer(self, call: "_Call") -> OutboundResponse:
        origin = self._trusted_origin()
        credential = await self._credentials.read()
        request = S3Request(call.method, origin.authority, call.path, call.query, call.headers)
        payload = UNSIGNED if origin.scheme == "https" else await _hashed(call.raw or b"")
        region, at = self.location.region, self._clock()
        headers = signed_headers(request, credential, region, at, payload)
        raw = call.raw
        body = None if raw is None else Body(lambda: _sliced(raw), len(raw))
        outgoing = OutboundRequest(
            call.method,
            origin,
            request.target,
            headers,
            trust=self._trust,
            body=body,
            seconds=self._timeouts.body if call.is_body else self._timeouts.request,
            idle=self._timeouts.idle,
        )
        try:
            return await self._connected().send(outgoing)
        except TimeoutError as error:
            raise BucketUnavailableError(self.name, "it does not answer in time") from error
        except (HttpError, UnicodeError) as error:
            raise BucketUnavailableError(self.name, _why(error)) from error

    def _request_path(self, key: str | None) -> str:
        path = "/" if key is None else f"/{self.location.prefix}{key}"
        return f"/{self.location.bucket}{path}" if self.location.path_style else path

    def _connected(self) -> OutboundClient:
        if self._client is None:
            pool = ConnectionPool(self._dialer, _CONNECTIONS, self._timeouts.connect, rest=4.0)
            self._client = OutboundClient(pool, {"User-Agent": "upwell"})
        return self._client

    def _trusted_origin(self) -> HttpOrigin:
        if self._origin is None:
            url = self.location.endpoint
            host = url.host if self.location.path_style else f"{self.location.bucket}.{url.host}"
            tls = self._trust() if url.scheme == "https" else None
            self._origin = HttpOrigin(url.scheme, host, url.port, tls)
        return self._origin

    def _trust(self) -> ssl.SSLContext:
        try:
            return ssl.create_default_context(cafile=self.location.ca_file)
        except OSError as error:  # ssl.SSLError is one
            why = f"ca-file {self.location.ca_file} cannot be used: {error.strerror or error}"
            raise BucketUnavailableError(self.name, why) from error

    # Answers

    async def _is_missing(self, response: OutboundResponse, what: str) -> bool:
        """Tell whether the object is not there; raises what a refusal means."""
        if response.status == HTTPStatus.NOT_FOUND:
            code = await self._code(response)
            if code == "NoSuchBucket":
                raise BucketRefusedError(self.name, what, response.status, code)
            return True
        await self._require(response, what)
        return False

    async def _require(self, response: OutboundResponse, what: str) -> None:
        if not HTTPStatus.OK <= response.status < HTTPStatus.MULTIPLE_CHOICES:
            code = await self._code(response)
            raise BucketRefusedError(self.name, what, response.status, code)

    async def _code(self, response: OutboundResponse) -> str:
        try:
            return documents.error_code(await self._read(response, _ERROR_BYTES))
        except BucketAnswerError:
            return ""

    async def _document(self, response: OutboundResponse) -> bytes:
        return await self._read(response, documents.MAX_BYTES)

    def _parsed[T](self, parse: Callable[[bytes], T], raw: bytes) -> T:
        try:
            return parse(raw)
        except DocumentError as error:
            raise BucketAnswerError(self.name, str(error)) from error

    def _etag(self, response: OutboundResponse) -> str:
        etag = response.headers.get("ETag", "")
        if not etag:
            raise BucketAnswerError(self.name, "what was written has no ETag")
        return etag

    async def _read(self, response: OutboundResponse, limit: int) -> bytes:
        pieces, size = [], 0
        while piece := await response.read():
            size += len(piece)
            if size > limit:
                raise BucketAnswerError(self.name, f"more than {limit} bytes")
            pieces.append(piece)
        return b"".join(pieces)

    async def _pieces(self, response: OutboundResponse, size: int) -> AsyncIterator[bytes]:
        while piece := await response.read():
            size -= len(piece)
            if size < 0:
                raise BucketAnswerError(self.name, "more bytes than were asked for")
            yield piece
        if size:
            raise BucketAnswerError(self.name, "fewer bytes than were asked for")


@dataclass(frozen=True, slots=True)
class _Call:
    method: str
    path: str
    query: Sequence[tuple[str, str]]
    headers: Mapping[str, str]
    raw: bytes | None = field(repr=False)
    is_body: bool


def _why(error: Exception) -> str:
    if isinstance(error, NoConnectionError):
        if error.is_untrusted:
            return "its certificate is not trusted: set `ca-file`"
        if isinstance(error.os_error, ForbiddenAddressError):
            return str(error.os_error)
        return f"{error}: {error.os_error.strerror or error.os_error}"
    return str(error) or "the connection was lost"


async def _hashed(raw: bytes) -> str:
    if len(raw) < _HASHED_IN_THREAD:
        return hashlib.sha256(raw).hexdigest()
    return await asyncio.to_thread(lambda: hashlib.sha256(raw).hexdigest())


async def _sliced(raw: bytes) -> AsyncIterator[bytes]:
    view = memoryview(raw)
    for start in range(0, len(raw), _PIECE):
        yield bytes(view[start : start + _PIECE])
