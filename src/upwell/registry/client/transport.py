"""HTTP towards registries: one client, bounded and timed answers, failures as RegistryErrors.

Sends what it is given, once: who asks is the authorizer's concern, what it means the client's.
"""

import asyncio
import math
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from http import HTTPStatus
from types import TracebackType
from typing import TYPE_CHECKING, Self
from urllib.parse import urlencode

from upwell import __version__
from upwell.machine.sockets.connecting import connection_failure
from upwell.outbound.dialing import Dialer
from upwell.outbound.http.client import OutboundClient, OutboundResponse
from upwell.outbound.http.errors import (
    BrokenBodyError,
    DisconnectedError,
    HttpError,
    NoConnectionError,
)
from upwell.outbound.http.messages import Body, HttpOrigin, OutboundRequest
from upwell.outbound.http.pool import ConnectionPool
from upwell.outbound.http.urls import HttpUrl
from upwell.outbound.policy import ForbiddenAddressError
from upwell.registry.budget import RequestBudget
from upwell.registry.errors import (
    ForbiddenRegistryError,
    InvalidAnswerError,
    RegistryError,
    RegistryUnavailableError,
    UntrustedCertificateError,
)
from upwell.registry.hosts import RegistryEndpoint

if TYPE_CHECKING:
    from pathlib import Path

_MAX_REDIRECTS = 5
_MAX_CONNECTIONS = 256
_KEEP_ALIVE = 30.0
_MAX_ORIGINS = 10_000
_MAX_WHY = 200
_PROTOCOLS = ("http/1.1",)


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

    response: OutboundResponse = field(repr=False)
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
        self.response.release()

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self.response.status

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers, found in any case."""
        return self.response.headers

    @property
    def url(self) -> HttpUrl:
        """URL of the answer, after redirects."""
        return self.response.url

    @property
    def redirected(self) -> bool:
        """True if somebody else than the registry may have answered."""
        return self.response.redirected

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
            try:
                chunk = await self.response.read()
            except (HttpError, TimeoutError) as error:
                raise _as_registry_error(error, self.name, self.seconds) from error
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
    """Sends calls over one client and remembers on which scheme a registry answers."""

    def __init__(self, budget: RequestBudget, timeouts: Timeouts, dialer: Dialer) -> None:
        self._budget = budget
        self._dialer = dialer
        self._timeouts = timeouts
        self._http: OutboundClient | None = None
        self._contexts: dict[Path, ssl.SSLContext] = {}
        self._origins: dict[tuple[str, str, bool, Path | None], HttpOrigin] = {}
        self._schemes: dict[str, str] = {}

    async def aclose(self) -> None:
        """Close every connection."""
        if self._http is not None:
            client, self._http = self._http, None
            await client.aclose()

    async def send(self, call: RegistryRequest, authorization: str | None) -> RegistryResponse:
        """Send `call` once, on the first of its endpoint's schemes that connects.

        Raises RateLimitedError, RegistryUnavailableError or InvalidAnswerError.
        """
        endpoint = call.endpoint
        limits = self._timeouts
        seconds = limits.blob if call.is_blob else limits.answer
        self._budget.check(endpoint.registry, pull=call.is_pull)
        try:
            response = await self._request(call, authorization)
        except (HttpError, TimeoutError, UnicodeError) as error:
            if isinstance(error, TimeoutError):
                self._budget.observe_silence(endpoint.registry)
            raise _as_registry_error(error, endpoint.name, seconds) from error
        refusal = self._budget.observe(endpoint.registry, response.status, response.headers)
        if refusal is not None:
            response.release()
            raise refusal
        pace = (limits.pace, limits.pace_bytes) if call.is_blob else (math.inf, 0)
        return RegistryResponse(response, endpoint.name, seconds, pace)

    async def post(
        self, endpoint: RegistryEndpoint, url: HttpUrl, form: Sequence[tuple[str, str]]
    ) -> RegistryResponse:
        """Send a form to a token server; redirects are not followed: the form holds a secret."""
        content = urlencode(form).encode()

        async def opened() -> AsyncIterator[bytes]:
            yield content

        body = Body(opened, len(content), "application/x-www-form-urlencoded")
        return await self._ask_token_server(endpoint, url, body=body)

    async def get(
        self,
        endpoint: RegistryEndpoint,
        url: HttpUrl,
        query: Sequence[tuple[str, str]],
        authorization: str | None,
    ) -> RegistryResponse:
        """Ask a token server; raises as `send` does."""
        return await self._ask_token_server(
            endpoint, url.with_query(query), authorization=authorization
        )

    async def _ask_token_server(
        self,
        endpoint: RegistryEndpoint,
        url: HttpUrl,
        *,
        authorization: str | None = None,
        body: Body | None = None,
    ) -> RegistryResponse:
        name, seconds = url.host, self._timeouts.answer
        try:
            request = OutboundRequest(
                "GET" if body is None else "POST",
                HttpOrigin.of(url, lambda: self._trust(endpoint)),
                url.target,
                _headers("*/*", authorization),
                trust=lambda: self._trust(endpoint),
                body=body,
                seconds=seconds,
                redirects=_MAX_REDIRECTS if body is None else 0,
                schemes=endpoint.schemes,
            )
            response = await self._client().send(request)
        except (HttpError, TimeoutError, ValueError) as error:  # UnicodeError is one
            raise _as_registry_error(error, name, seconds) from error
        # Without a token the registry cannot be asked either: its gate is the one to close.
        if response.status in {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}:
            response.release()
            refusal = self._budget.observe(endpoint.registry, response.status, response.headers)
            if refusal is not None:
                raise refusal
        return RegistryResponse(response, response.url.host, seconds)

    def observe_silent_token_server(self, endpoint: RegistryEndpoint) -> None:
        """Take in that a request got no token in time: to the budget, the registry is silent."""
        self._budget.observe_silence(endpoint.registry)

    async def _request(self, call: RegistryRequest, authorization: str | None) -> OutboundResponse:
        endpoint, limits = call.endpoint, self._timeouts
        failures: list[HttpError] = []
        for scheme in self._order(endpoint):
            request = OutboundRequest(
                call.method,
                self._origin(endpoint, scheme),
                call.path,
                _headers(call.accept, authorization),
                trust=lambda: self._trust(endpoint),
                body=call.body,
                seconds=limits.blob if call.is_blob else limits.answer,
                idle=limits.idle if call.is_blob else None,
                redirects=_MAX_REDIRECTS if call.body is None else 0,  # what was sent is gone
                schemes=endpoint.schemes,
            )
            try:
                response = await self._client().send(request)
            except (NoConnectionError, DisconnectedError) as error:
                if isinstance(error, NoConnectionError) and error.is_untrusted:
                    raise
                failures.append(error)
            else:
                if response.status == HTTPStatus.BAD_REQUEST and scheme == "http":
                    # How Go's servers answer plain http on a port that has got TLS.
                    self._schemes.pop(endpoint.authority, None)
                else:
                    self._schemes[endpoint.authority] = scheme
                return response
        raise failures[-1]

    def _order(self, endpoint: RegistryEndpoint) -> Sequence[str]:
        """Put what worked last first; once https worked, http is never tried instead."""
        known = self._schemes.get(endpoint.authority)
        if known == "https":
            return ("https",)
        if known is None or known == endpoint.schemes[0]:
            return endpoint.schemes
        return (known, *(scheme for scheme in endpoint.schemes if scheme != known))

    def _origin(self, endpoint: RegistryEndpoint, scheme: str) -> HttpOrigin:
        key = (scheme, endpoint.authority, endpoint.insecure, endpoint.ca_file)
        if (known := self._origins.get(key)) is not None:
            return known
        try:
            url = HttpUrl.parse(f"{scheme}://{endpoint.authority}")
            origin = HttpOrigin.of(url, lambda: self._trust(endpoint))
        except ValueError:
            why = "its address is not a host and port"
            raise RegistryUnavailableError(endpoint.name, why) from None
        if len(self._origins) >= _MAX_ORIGINS:
            self._origins.clear()
        self._origins[key] = origin
        return origin

    def _client(self) -> OutboundClient:
        # Created late: it belongs to the loop that runs the first request.
        if self._http is None:
            pool = ConnectionPool(
                self._dialer, _MAX_CONNECTIONS, self._timeouts.connect, _KEEP_ALIVE
            )
            # Digests are of the bytes as they are stored, and nothing may inflate.
            headers = {"User-Agent": f"upwell/{__version__}", "Accept-Encoding": "identity"}
            self._http = OutboundClient(pool, headers)
        return self._http

    def _trust(self, endpoint: RegistryEndpoint) -> ssl.SSLContext:
        if endpoint.insecure:
            return _unverified()
        if endpoint.ca_file is None:
            return _system_authorities()
        if endpoint.ca_file not in self._contexts:
            context = _verified()
            try:
                context.load_verify_locations(cafile=endpoint.ca_file)
            except OSError as error:  # ssl.SSLError is one
                why = f"its ca file {endpoint.ca_file} cannot be read: {error.strerror}"
                raise RegistryUnavailableError(endpoint.name, why) from error
            self._contexts[endpoint.ca_file] = context
        return self._contexts[endpoint.ca_file]


def _verified() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.set_alpn_protocols(_PROTOCOLS)
    return context


_system_authorities = cache(_verified)
"""To read them takes longer than many requests."""


@cache
def _unverified() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(_PROTOCOLS)
    return context


_NO_TLS = ("WRONG_VERSION_NUMBER", "wrong version number", "record layer failure")
"""Words of OpenSSL's for an answer that is no TLS."""


def _headers(accept: str, authorization: str | None) -> Mapping[str, str]:
    if authorization is None:
        return {"Accept": accept}
    return {"Accept": accept, "Authorization": authorization}


def _as_registry_error(error: Exception, name: str, seconds: float) -> RegistryError:
    """Return our error for what a request failed by. No URL goes into it: it may be signed."""
    match error:
        case NoConnectionError():
            return _no_connection(error, name)
        case TimeoutError():
            why = f"no complete answer within {seconds:g} s"
        case BrokenBodyError():
            why = "its answer broke off"
        case DisconnectedError():
            why = "the connection broke"
        case UnicodeError():
            why = "its host is not a name that can be looked up"
        case _:
            return InvalidAnswerError(name, str(error) or "what it answers is not HTTP/1.1")
    return RegistryUnavailableError(name, why)


def _no_connection(failed: NoConnectionError, name: str) -> RegistryError:
    error = failed.os_error
    if isinstance(error, ForbiddenAddressError):
        return ForbiddenRegistryError(name, str(error))
    if failed.is_untrusted:
        return UntrustedCertificateError(name)
    if isinstance(error, ssl.SSLError):
        why = str(error)[:_MAX_WHY] or "no TLS"
        if any(words in why for words in _NO_TLS):
            why = (
                "it speaks plain HTTP: allow that by `insecure` in a [[registry]] of the"
                " configuration file, or by importPolicy.insecure of the tag"
            )
    else:
        why = connection_failure(failed.host, failed.port, error)
    return RegistryUnavailableError(name, why)
