"""Requests to services that the administrator names: small documents, and forms.

No redirect is followed, so that what is sent reaches nobody but the URL that was named.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from ssl import SSLContext
from typing import Self

import aiohttp

from upwell.machine.sockets.connecting import connection_failure
from upwell.outbound.dialing import Dialer
from upwell.outbound.sessions import judged_connector

_SECONDS = 10.0
"""For one request, from the look-up of the name to the end of the answer."""
_CONNECTIONS = 8
_CHUNK = 64 * 1024


class ProviderRequestError(Exception):
    """There was no answer that can be used; the message says why, and quotes nothing of it."""


@dataclass(frozen=True, slots=True)
class ProviderRequest:
    """A GET, or a POST of a form or a JSON document; the answer has at most `limit` bytes."""

    url: str
    limit: int
    form: Mapping[str, str] | None = field(default=None, repr=False)
    authorization: str = field(default="", repr=False)
    document: bytes | None = field(default=None, repr=False)
    """JSON, in place of a form."""


@dataclass(frozen=True, slots=True)
class ProviderAnswer:
    """Answer to a request, whatever its status is."""

    status: int
    body: bytes = field(repr=False)

    @property
    def is_success(self) -> bool:
        """True for an answer that has what was asked for."""
        return self.status == HTTPStatus.OK


class ProviderClient:
    """Asks identity providers, and services that sign."""

    def __init__(self, session: aiohttp.ClientSession, seconds: float) -> None:
        self._session = session
        self._seconds = seconds

    @classmethod
    @asynccontextmanager
    async def open(
        cls, dialer: Dialer, authorities: SSLContext | None = None, seconds: float = _SECONDS
    ) -> AsyncIterator[Self]:
        """Hold the connections while the block lasts; `authorities` None: the system's."""
        session = aiohttp.ClientSession(
            connector=judged_connector(dialer, limit=_CONNECTIONS, ssl=authorities or True),
            timeout=aiohttp.ClientTimeout(total=seconds),
            headers={
                "User-Agent": "upwell",
                "Accept": "application/json",
                "Accept-Encoding": "identity",
            },
            auto_decompress=False,  # what is limited must not grow afterwards
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        async with session:
            yield cls(session, seconds)

    async def ask(self, request: ProviderRequest) -> ProviderAnswer:
        """Return the answer; raises ProviderRequestError."""
        headers = {"Authorization": request.authorization} if request.authorization else {}
        if request.document is not None:
            headers["Content-Type"] = "application/json"
        data = request.form if request.document is None else request.document
        method = "GET" if data is None else "POST"
        try:
            async with self._session.request(
                method, request.url, data=data, headers=headers, allow_redirects=False
            ) as response:
                return ProviderAnswer(response.status, await _body(response, request.limit))
        except TimeoutError as error:
            raise ProviderRequestError(f"no answer within {self._seconds:g} s") from error
        except aiohttp.ClientConnectorError as error:
            why = connection_failure(error.host, error.port, error.os_error)
            raise ProviderRequestError(why) from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            # Its text may hold what was answered, or sent: the class says enough.
            raise ProviderRequestError(f"no proper answer: {type(error).__name__}") from error


async def _body(response: aiohttp.ClientResponse, limit: int) -> bytes:
    """Return the body; raises ProviderRequestError beyond `limit` bytes."""
    pieces = bytearray()
    async for chunk in response.content.iter_chunked(_CHUNK):
        pieces += chunk
        if len(pieces) > limit:
            raise ProviderRequestError(f"an answer of more than {limit} bytes")
    return bytes(pieces)
