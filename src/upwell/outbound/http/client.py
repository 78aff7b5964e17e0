"""Client of HTTP/1.1: requests on kept connections, and redirects."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from http import HTTPStatus

from upwell.outbound.http.connection import HttpConnection
from upwell.outbound.http.errors import DisconnectedError, RedirectError
from upwell.outbound.http.messages import HttpHeaders, HttpOrigin, OutboundRequest
from upwell.outbound.http.pool import ConnectionPool
from upwell.outbound.http.urls import HttpUrl

_REPEATABLE = frozenset({"GET", "HEAD", "PUT", "DELETE"})
_REDIRECTS = frozenset(
    {
        HTTPStatus.MOVED_PERMANENTLY,
        HTTPStatus.FOUND,
        HTTPStatus.SEE_OTHER,
        HTTPStatus.TEMPORARY_REDIRECT,
        HTTPStatus.PERMANENT_REDIRECT,
    }
)


@dataclass(slots=True)
class OutboundResponse:
    """Answer whose body is still to be read; it is to be released, whatever of it was read."""

    request: OutboundRequest
    """The last request, after redirects."""
    status: int
    headers: HttpHeaders = field(repr=False)
    redirected: bool
    _connection: HttpConnection | None = field(repr=False)
    _pool: ConnectionPool = field(repr=False)

    @property
    def url(self) -> HttpUrl:
        """URL that answered."""
        origin = self.request.origin
        return HttpUrl(origin.scheme, origin.host, origin.port, self.request.target)

    @property
    def content_length(self) -> int | None:
        """Size of the body, where it is told."""
        text = self.headers.get("Content-Length", "")
        return int(text) if text.isdecimal() else None

    async def read(self) -> bytes:
        """Return the next piece of the body, empty at its end; raises HttpError, TimeoutError."""
        return b"" if self._connection is None else await self._connection.read(self.request.idle)

    def release(self) -> None:
        """Give the connection back; it ends where not all of the body was read."""
        if self._connection is not None:
            connection, self._connection = self._connection, None
            self._pool.give_back(connection)


class OutboundClient:
    """Sends requests over a pool of connections. `headers` go with each. Close it after use."""

    def __init__(self, pool: ConnectionPool, headers: Mapping[str, str]) -> None:
        self._pool = pool
        self._common = "".join(f"{name}: {value}\r\n" for name, value in headers.items())

    async def aclose(self) -> None:
        """End every connection."""
        await self._pool.aclose()

    async def send(self, request: OutboundRequest) -> OutboundResponse:
        """Send a request, and follow redirects if it has no body.

        Raises HttpError, TimeoutError, UnicodeError for a host that is no name, and what its body
        and its trust do.
        """
        deadline = asyncio.get_running_loop().time() + request.seconds
        left = request.redirects
        response = await self._answer(request, deadline, redirected=False)
        while request.redirects and response.status in _REDIRECTS:
            location = response.headers.get("Location")
            if not location:
                return response
            response.release()
            if not left:
                raise RedirectError("too many redirects")
            left -= 1
            request = _redirected(response, location)
            response = await self._answer(request, deadline, redirected=True)
        return response

    async def _answer(
        self, request: OutboundRequest, deadline: float, *, redirected: bool
    ) -> OutboundResponse:
        head = request.head(self._common)
        connection = await self._pool.take(request.origin, deadline)
        rested = connection.is_used
        try:
            await self._ask(connection, request, head, deadline)
        except DisconnectedError:
            # Its server had closed it while it rested (RFC 9112, 9.3.1).
            if not rested or request.method not in _REPEATABLE:
                raise
            connection = await self._pool.take(request.origin, deadline, new=True)
            await self._ask(connection, request, head, deadline)
        return OutboundResponse(
            request,
            connection.status,
            connection.headers(),
            redirected,
            connection,
            self._pool,
        )

    async def _ask(
        self, connection: HttpConnection, request: OutboundRequest, head: bytes, deadline: float
    ) -> None:
        try:
            await connection.ask(request.method, head, request.body, deadline)
        except BaseException:
            connection.close()
            self._pool.give_back(connection)
            raise


def _redirected(response: OutboundResponse, location: str) -> OutboundRequest:
    """Return the request that a redirect asks for (RFC 9110, 15.4); raises RedirectError."""
    request = response.request
    try:
        url = response.url.join(location)
        origin = HttpOrigin.of(url, request.trust)
    except ValueError:
        raise RedirectError("a redirect that leads nowhere") from None
    if origin.scheme not in request.schemes:
        raise RedirectError("it redirects from https to plain http")
    turned = {HTTPStatus.MOVED_PERMANENTLY, HTTPStatus.FOUND}
    is_turned = request.method == "POST" and response.status in turned
    if is_turned or (request.method != "HEAD" and response.status == HTTPStatus.SEE_OTHER):
        method = "GET"
    else:
        method = request.method
    headers = request.headers
    if origin != request.origin:  # a login is for whom it was given
        headers = {
            name: value for name, value in headers.items() if name.lower() != "authorization"
        }
    return replace(request, method=method, origin=origin, target=url.target, headers=headers)
