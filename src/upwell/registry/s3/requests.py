"""Requests to a bucket over the connections of `upwell.outbound`, which judge every address.

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
from dataclasses import dataclass, field, replace
from pathlib import Path

from upwell.machine.backoff import Backoff
from upwell.outbound.dialing import Dialer
from upwell.outbound.http.client import OutboundClient, OutboundResponse
from upwell.outbound.http.errors import HttpError, NoConnectionError
from upwell.outbound.http.messages import Body, HttpOrigin, OutboundRequest
from upwell.outbound.http.pool import ConnectionPool
from upwell.outbound.http.urls import HttpUrl
from upwell.outbound.policy import ForbiddenAddressError
from upwell.registry.s3.answers import S3Answer
from upwell.registry.s3.credentials import CredentialsFile
from upwell.registry.s3.errors import (
    STALE_CREDENTIALS,
    BucketError,
    BucketRefusedError,
    BucketUnavailableError,
)
from upwell.registry.s3.signing import UNSIGNED, S3Request, signed_headers

_CONNECTIONS = 64
_TRIES = 4
_HUNG_TRIES = 2
"""Tries of which none was answered in time: the second one is for a connection that was dead."""
_HASHED_IN_THREAD = 256 * 1024
_PIECE = 256 * 1024
_BUSY = frozenset({429, 500, 502, 503, 504})
_REFUSED = frozenset({400, 401, 403})


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

    @property
    def url(self) -> HttpUrl:
        """URL of the server that is asked, by whose name the bucket may be known."""
        if self.path_style:
            return self.endpoint
        return replace(self.endpoint, host=f"{self.bucket}.{self.endpoint.host}")


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


class S3Requests:
    """Requests to one bucket, signed and repeated. Every method raises a BucketError.

    `clock` gives seconds since the epoch. Close it after use.
    """

    def __init__(
        self,
        location: BucketLocation,
        credentials: CredentialsFile,
        dialer: Dialer,
        timeouts: S3Timeouts,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.location = location
        self.name = location.name
        self._credentials = credentials
        self._dialer = dialer
        self._timeouts = timeouts
        self._clock = clock
        self._client: OutboundClient | None = None
        self._origin: HttpOrigin | None = None

    async def aclose(self) -> None:
        """Close every connection."""
        if self._client is not None:
            await self._client.aclose()

    @asynccontextmanager
    async def open(
        self,
        what: str,
        method: str,
        key: str | None,
        query: Sequence[tuple[str, str]] = (),
        *,
        headers: Mapping[str, str] | None = None,
        raw: bytes | None = None,
        is_body: bool = False,
    ) -> AsyncIterator[S3Answer]:
        """Send a request for an object, or, without a key, for the bucket; yield its answer.

        `what` says what is asked, to people; `is_body`: the answer may be large and take long.
        """
        call = _Call(method, self._request_path(key), query, headers or {}, raw, is_body)
        response = await self._sent(what, call)
        try:
            yield S3Answer(response, self.name)
        except HttpError as error:
            raise _unavailable(self.name, error) from error
        except TimeoutError as error:
            raise BucketUnavailableError(self.name, "its answer has stopped") from error
        finally:
            response.release()

    async def _sent(self, what: str, call: "_Call") -> OutboundResponse:
        is_renewed, backoff, hung = False, Backoff(self._timeouts.backoff), 0
        for attempt in range(1, _TRIES + 1):
            failure: BucketError
            try:
                response = await self._answer(call)
            except BucketUnavailableError as error:
                failure = error
                hung += isinstance(error.__cause__, TimeoutError)
            else:
                if response.status in _REFUSED:
                    try:
                        code = await S3Answer(response, self.name).code()
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
            if attempt == _TRIES or hung == _HUNG_TRIES:
                break
            await asyncio.sleep(backoff.delay(attempt))
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
            raise _unavailable(self.name, error) from error

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
            url = self.location.url
            tls = self._trust() if url.scheme == "https" else None
            self._origin = HttpOrigin(url.scheme, url.host, url.port, tls)
        return self._origin

    def _trust(self) -> ssl.SSLContext:
        try:
            return ssl.create_default_context(cafile=self.location.ca_file)
        except OSError as error:  # ssl.SSLError is one
            why = f"ca-file {self.location.ca_file} cannot be used: {error.strerror or error}"
            raise BucketUnavailableError(self.name, why) from error


@dataclass(frozen=True, slots=True)
class _Call:
    method: str
    path: str
    query: Sequence[tuple[str, str]]
    headers: Mapping[str, str]
    raw: bytes | None = field(repr=False)
    is_body: bool


def _unavailable(name: str, error: Exception) -> BucketUnavailableError:
    if not isinstance(error, NoConnectionError):
        return BucketUnavailableError(name, str(error) or "the connection was lost")
    if error.is_untrusted:
        step = "name its authority by `ca-file` of [embedded-registry.bucket]"
        return BucketUnavailableError(name, "its certificate is not trusted", step)
    if isinstance(error.os_error, ForbiddenAddressError):
        return BucketUnavailableError(name, str(error.os_error))
    why = f"{error}: {error.os_error.strerror or error.os_error}"
    return BucketUnavailableError(name, why)


async def _hashed(raw: bytes) -> str:
    if len(raw) < _HASHED_IN_THREAD:
        return hashlib.sha256(raw).hexdigest()
    return await asyncio.to_thread(lambda: hashlib.sha256(raw).hexdigest())


async def _sliced(raw: bytes) -> AsyncIterator[bytes]:
    view = memoryview(raw)
    for start in range(0, len(raw), _PIECE):
        yield bytes(view[start : start + _PIECE])
