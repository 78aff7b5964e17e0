"""HTTP with limits: an answer of at most so many bytes, within a time, from where it was asked."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Self

import aiohttp
from yarl import URL

from upwell.machine.sockets.connecting import connection_failure
from upwell.outbound.dialing import Dialer
from upwell.outbound.sessions import judged_connector
from upwell.verification.interface import HttpAnswer, HttpQuestion, ProbeError

_CHUNK = 64 * 1024
_MAX_WHY = 300


@dataclass(frozen=True, slots=True)
class ResponseLimits:
    """Limits of one request."""

    seconds: float = 10
    answer_bytes: int = 1024 * 1024


@dataclass(frozen=True, slots=True)
class ProbeRequest:
    """A GET request as it is sent."""

    url: URL
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    instance: bool = False
    """True if the server has found the address, which no object names."""


class HttpClient:
    """One connection for each request: what is asked shall be answered by what serves now."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        instances: aiohttp.ClientSession,
        limits: ResponseLimits,
    ) -> None:
        """`instances` is the session for addresses that the server itself has found."""
        self._session = session
        self._instances = instances
        self._limits = limits

    @classmethod
    @asynccontextmanager
    async def open(
        cls, dialer: Dialer, instances: Dialer, limits: ResponseLimits
    ) -> AsyncIterator[Self]:
        """Hold the client while the block lasts; `instances` connects to what the server found."""
        async with (
            _session(judged_connector(dialer, limit=0, force_close=True), limits) as session,
            _session(judged_connector(instances, limit=0, force_close=True), limits) as found,
        ):
            yield cls(session, found, limits)

    async def get(self, question: HttpQuestion) -> HttpAnswer:
        """Ask a question; raises ProbeError."""
        headers = {"Host": question.host} if question.host else {}
        return await self.send(ProbeRequest(parse_url(question.url), headers, question.instance))

    async def send(self, request: ProbeRequest) -> HttpAnswer:
        """Send a GET request and return its answer; raises ProbeError."""
        session = self._instances if request.instance else self._session
        try:
            async with (
                asyncio.timeout(self._limits.seconds),
                session.get(
                    request.url, headers=request.headers, allow_redirects=False
                ) as response,
            ):
                return await self._answer(response)
        except TimeoutError as error:
            where, seconds = place(request.url), self._limits.seconds
            raise ProbeError(f"{where} did not answer within {seconds:g} s") from error
        except aiohttp.ClientConnectorError as error:
            why = connection_failure(error.host, error.port, error.os_error)[:_MAX_WHY]
            raise ProbeError(f"{place(request.url)} cannot be reached: {why}") from error
        except (aiohttp.ClientError, ValueError) as error:
            # Its text may have the whole URL, and that its password.
            why = type(error).__name__
            raise ProbeError(f"{place(request.url)} cannot be reached: {why}") from error

    async def _answer(self, response: aiohttp.ClientResponse) -> HttpAnswer:
        body = bytearray()
        async for chunk in response.content.iter_chunked(_CHUNK):
            body += chunk
            if len(body) > self._limits.answer_bytes:
                return HttpAnswer(
                    response.status, bytes(body[: self._limits.answer_bytes]), cut=True
                )
        return HttpAnswer(response.status, bytes(body))


def _session(connector: aiohttp.TCPConnector, limits: ResponseLimits) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        # An answer is limited by its bytes as they come: it must not grow when it is unpacked.
        auto_decompress=False,
        headers={"User-Agent": "upwell", "Accept-Encoding": "identity"},
        timeout=aiohttp.ClientTimeout(total=limits.seconds),
    )


def parse_url(text: str) -> URL:
    """Return a URL that can be asked; raises ProbeError."""
    try:
        url = URL(text)
        known = url.scheme in {"http", "https"} and bool(url.host)
    except ValueError:
        known = False
    if not known:
        raise ProbeError("not an http or https URL")
    return url


def place(url: URL) -> str:
    """Return a URL for people: without account, query and fragment, which may hold secrets."""
    return str(url.with_user(None).with_query(None).with_fragment(None))
