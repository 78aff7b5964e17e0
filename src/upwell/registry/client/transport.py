"""HTTP towards registries: one session, bounded and timed answers, failures as RegistryErrors.

Sends what it is given, once: who asks is the authorizer's concern, what it means the client's.
"""

import asyncio
import math
import ssl
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from importlib.metadata import version
from types import TracebackType
from typing import TYPE_CHECKING, Self

import aiohttp
from yarl import URL

from upwell.machine.sockets.connecting import connection_failure
from upwell.outbound.dialing import Dialer, unrestricted
from upwell.outbound.policy import ForbiddenAddressError
from upwell.registry.budget import RequestBudget
from upwell.registry.errors import (
    ForbiddenRegistryError,
    InvalidAnswerError,
    RegistryUnavailableError,
)
from upwell.registry.hosts import RegistryEndpoint

if TYPE_CHECKING:
    from pathlib import Path

_MAX_REDIRECTS = 5
_MAX_CONNECTIONS = 256
_KEEP_ALIVE = 30.0
_CHUNK = 64 * 1024
_MAX_WHY = 200


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds: to connect, for a whole answer, between two pieces of a blob, for a whole blob.

    `pace`: in so many seconds of waiting, a blob has to bring at least `pace_bytes`.
    """

    connect: float = 10.0
    answer: float = 30.0
    idle: float = 30.0
    blob: float = 3600.0
    pace: float = 60.0
    pace_bytes: int = 60 * 4096


@dataclass(frozen=True, slots=True)
class Body:
    """Body of a call: `size` bytes, opened anew each time that it must be sent again."""

    open: Callable[[], AsyncIterator[bytes]] = field(repr=False)
    size: int
    media_type: str = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class RegistryRequest:
    """Request to a registry. `path` is what follows host and port, query included.

    `is_pull` says that it counts against pull limits, `is_blob` that it may take long. `scopes` are
    the rights that a token must give; reading the repository, if none are named (scope.md).
    """

    method: str
    endpoint: RegistryEndpoint
    path: str
    accept: str = "*/*"
    is_pull: bool = False
    is_blob: bool = False
    body: Body | None = None
    scopes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RegistryResponse:
    """A response whose body is still to be read; leave the context to give its connection back."""

    response: aiohttp.ClientResponse = field(repr=False)
    name: str
    """Of whom the errors speak."""
    seconds: float
    """Time that the whole of it may take."""
    pace: tuple[float, int] = (math.inf, 0)
    """Bytes that have to come in so many seconds of waiting: who sends a byte now and then holds a
    place of others."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.response.content.at_eof():
            self.response.release()
        else:
            self.response.close()  # whatever is left may be endless

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self.response.status

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers, found in any case."""
        return self.response.headers

    @property
    def url(self) -> URL:
        """URL of the answer, after redirects."""
        return self.response.url

    @property
    def redirected(self) -> bool:
        """True if somebody else than the registry may have answered."""
        return bool(self.response.history)

    @property
    def media_type(self) -> str:
        """The Content-Type without parameters."""
        return self.headers.get("Content-Type", "").partition(";")[0].strip()

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body as it comes; raises RegistryUnavailableError or InvalidAnswerError."""
        clock = asyncio.get_running_loop().time
        seconds, least = self.pace
        waited, received = 0.0, 0
        while True:
            since = clock()
            with _mapped_errors(self.name, self.seconds):
                chunk = await self.response.content.read(_CHUNK)
            if not chunk:
                return
            waited, received = waited + clock() - since, received + len(chunk)
            if waited >= seconds:
                if received < least:
                    why = f"it has sent {received} bytes in {waited:.0f} s, too few to wait for"
                    raise RegistryUnavailableError(self.name, why)
                waited, received = 0.0, 0
            yield chunk

    async def read(self, limit: int) -> bytes:
        """Read the body; raises InvalidAnswerError when it is over `limit` bytes."""
        stated = self.response.content_length
        if stated is not None and stated > limit:
            raise InvalidAnswerError(self.name, f"{stated} bytes, more than the {limit} allowed")
        body = await self.read_some(limit + 1)
        if len(body) > limit:
            raise InvalidAnswerError(self.name, f"more than the {limit} bytes allowed")
        return body

    async def read_some(self, limit: int) -> bytes:
        """Read no more than the first `limit` bytes of the body."""
        body = bytearray()
        async for chunk in self.chunks():
            body += chunk
            if len(body) >= limit:
                break
        return bytes(body[:limit])


class Transport:
    """Sends calls over one session and remembers on which scheme a registry answers."""

    def __init__(self, budget: RequestBudget, timeouts: Timeouts, dialer: Dialer | None) -> None:
        self._budget = budget
        self._dialer = dialer or unrestricted()
        self._timeouts = timeouts
        self._session: aiohttp.ClientSession | None = None
        self._contexts: dict[Path, ssl.SSLContext] = {}
        self._schemes: dict[str, str] = {}

    async def aclose(self) -> None:
        """Close every connection."""
        if self._session is not None:
            session, self._session = self._session, None
            await session.close()

    async def send(self, call: RegistryRequest, authorization: str | None) -> RegistryResponse:
        """Send `call` once, on the first of its endpoint's schemes that connects.

        Raises RateLimitedError, RegistryUnavailableError or InvalidAnswerError.
        """
        endpoint = call.endpoint
        seconds = self._timeouts.blob if call.is_blob else self._timeouts.answer
        headers = {"Accept": call.accept}
        if authorization:
            headers["Authorization"] = authorization
        if call.body is not None:
            headers["Content-Type"] = call.body.media_type
            headers["Content-Length"] = str(call.body.size)
        self._budget.check(endpoint.registry, pull=call.is_pull)
        with _mapped_errors(endpoint.name, seconds):
            response = await self._request(call, headers)
        error = self._budget.observe(endpoint.registry, response.status, response.headers)
        if error is not None:
            response.close()
            raise error
        if response.url.scheme not in endpoint.schemes:
            response.close()
            raise InvalidAnswerError(endpoint.name, "it redirects from https to plain http")
        limits = self._timeouts
        pace = (limits.pace, limits.pace_bytes) if call.is_blob else (math.inf, 0)
        return RegistryResponse(response, endpoint.name, seconds, pace)

    async def post(
        self, endpoint: RegistryEndpoint, url: URL, form: Sequence[tuple[str, str]]
    ) -> RegistryResponse:
        """Send a form to a token server; redirects are not followed: the form holds a secret."""
        with _mapped_errors(url.host or endpoint.name, self._timeouts.answer):
            response = await self._client().post(
                url,
                data=form,
                allow_redirects=False,
                ssl=self._trust(endpoint),
                timeout=self._timeout(is_blob=False),
            )
        return self._token_answer(endpoint, response)

    async def get(
        self,
        endpoint: RegistryEndpoint,
        url: URL,
        query: Sequence[tuple[str, str]],
        authorization: str | None,
    ) -> RegistryResponse:
        """Ask a token server; raises as `send` does."""
        headers = {"Authorization": authorization} if authorization else {}
        with _mapped_errors(url.host or endpoint.name, self._timeouts.answer):
            response = await self._client().get(
                url.extend_query(query),
                headers=headers,
                max_redirects=_MAX_REDIRECTS,
                ssl=self._trust(endpoint),
                timeout=self._timeout(is_blob=False),
            )
        return self._token_answer(endpoint, response)

    def _token_answer(
        self, endpoint: RegistryEndpoint, response: aiohttp.ClientResponse
    ) -> RegistryResponse:
        # Without a token the registry cannot be asked either: its gate is the one to close.
        if response.status in {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}:
            response.close()
            error = self._budget.observe(endpoint.registry, response.status, response.headers)
            if error is not None:
                raise error
        name = response.url.host or endpoint.name
        return RegistryResponse(response, name, self._timeouts.answer)

    async def _request(
        self, call: RegistryRequest, headers: Mapping[str, str]
    ) -> aiohttp.ClientResponse:
        authority = call.endpoint.authority
        failures: list[aiohttp.ClientConnectionError] = []
        for scheme in self._order(call.endpoint):
            url = _url(call, scheme)
            try:
                response = await self._client().request(
                    call.method,
                    url,
                    headers=headers,
                    data=call.body.open() if call.body is not None else None,
                    allow_redirects=call.body is None,  # what was sent cannot be sent on
                    max_redirects=_MAX_REDIRECTS,
                    ssl=self._trust(call.endpoint),
                    timeout=self._timeout(is_blob=call.is_blob),
                )
            except (TimeoutError, aiohttp.ClientConnectorCertificateError):
                raise
            except aiohttp.ClientConnectionError as error:
                failures.append(error)
            else:
                if response.status == HTTPStatus.BAD_REQUEST and scheme == "http":
                    # How Go's servers answer plain http on a port that has got TLS.
                    self._schemes.pop(authority, None)
                else:
                    self._schemes[authority] = scheme
                return response
        raise failures[-1]

    def _order(self, endpoint: RegistryEndpoint) -> Sequence[str]:
        """Put what worked last first; once https worked, http is never tried instead."""
        known = self._schemes.get(endpoint.authority)
        if known == "https":
            return ("https",)
        return tuple(sorted(endpoint.schemes, key=lambda scheme: scheme != known))

    def _client(self) -> aiohttp.ClientSession:
        # Created late: it belongs to the loop that runs the first request.
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=self._dialer.connector(
                    limit=_MAX_CONNECTIONS, keepalive_timeout=_KEEP_ALIVE
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                # Digests are of the bytes as they are stored, and nothing may inflate.
                auto_decompress=False,
                headers={
                    "User-Agent": f"upwell/{version('upwell')}",
                    "Accept-Encoding": "identity",
                },
            )
        return self._session

    def _timeout(self, *, is_blob: bool) -> aiohttp.ClientTimeout:
        limits = self._timeouts
        total, idle = (limits.blob, limits.idle) if is_blob else (limits.answer, None)
        return aiohttp.ClientTimeout(total=total, sock_connect=limits.connect, sock_read=idle)

    def _trust(self, endpoint: RegistryEndpoint) -> ssl.SSLContext | bool:
        if endpoint.insecure or endpoint.ca_file is None:
            return not endpoint.insecure
        if endpoint.ca_file not in self._contexts:
            context = ssl.create_default_context()
            try:
                context.load_verify_locations(cafile=endpoint.ca_file)
            except OSError as error:  # ssl.SSLError is one
                why = f"its ca file {endpoint.ca_file} cannot be read: {error.strerror}"
                raise RegistryUnavailableError(endpoint.name, why) from error
            self._contexts[endpoint.ca_file] = context
        return self._contexts[endpoint.ca_file]


_NO_TLS = ("WRONG_VERSION_NUMBER", "wrong version number", "record layer failure")
"""Words of OpenSSL's for an answer that is no TLS."""


def _url(call: RegistryRequest, scheme: str) -> URL:
    try:
        url = URL(f"{scheme}://{call.endpoint.authority}{call.path}", encoded=True)
        reachable = url.host and url.port  # a port out of range is found only here
    except ValueError:
        reachable = None
    if not reachable:
        raise RegistryUnavailableError(call.endpoint.name, "its address is not a host and port")
    return url


@contextmanager
def _mapped_errors(name: str, seconds: float) -> Iterator[None]:
    """Turn what aiohttp raises into our errors. No URL goes into them: it may be signed."""
    try:
        yield
    except TimeoutError as error:
        raise RegistryUnavailableError(name, f"no complete answer within {seconds:g} s") from error
    except aiohttp.ClientConnectorCertificateError as error:
        why = (
            "its certificate is not trusted: set `ca-file` (or `insecure`) in a [[registry]] of the"
            " configuration file, or importPolicy.insecure of the tag"
        )
        raise RegistryUnavailableError(name, why) from error
    except aiohttp.ClientConnectorSSLError as error:
        why = str(error)[:_MAX_WHY] or "no TLS"
        if any(words in why for words in _NO_TLS):
            why = (
                "it speaks plain HTTP: allow that by `insecure` in a [[registry]] of the"
                " configuration file, or by importPolicy.insecure of the tag"
            )
        raise RegistryUnavailableError(name, why) from error
    except aiohttp.ClientConnectorError as error:
        if isinstance(error.os_error, ForbiddenAddressError):
            raise ForbiddenRegistryError(name, str(error.os_error)) from error
        why = connection_failure(error.host, error.port, error.os_error)
        raise RegistryUnavailableError(name, why) from error
    except aiohttp.ClientPayloadError as error:
        raise RegistryUnavailableError(name, "its answer broke off") from error
    except aiohttp.ClientConnectionError as error:
        why = str(error)[:_MAX_WHY] or "the connection broke"
        raise RegistryUnavailableError(name, why) from error
    except UnicodeError as error:
        raise RegistryUnavailableError(
            name, "its host is not a name that can be looked up"
        ) from error
    except aiohttp.ClientError as error:
        # Its message quotes what came, which may be another service's.
        why = f"not HTTP as we know it: {type(error).__name__}"
        raise InvalidAnswerError(name, why) from error
