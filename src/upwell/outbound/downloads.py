"""Files that objects name by a URL: by the policy, at each redirect too, and within limits."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus

import aiohttp

from upwell.machine.sockets.connecting import connection_failure
from upwell.outbound.dialing import Dialer
from upwell.outbound.sessions import judged_connector

_CHUNK = 64 * 1024
_MAX_REDIRECTS = 3
_MAX_WHY = 200


class DownloadError(Exception):
    """There is no such content to be had; the message says why, and quotes no answer.

    `retryable`: the same request may succeed later. `status` is that of the answer, if one came.
    """

    def __init__(self, message: str, *, retryable: bool = False, status: int = 0) -> None:
        super().__init__(message)
        self.retryable = retryable
        self.status = status


@dataclass(frozen=True, slots=True)
class DownloadLimits:
    """Limits of one download, redirects included."""

    content_bytes: int
    seconds: float = 30.0


@dataclass(frozen=True, slots=True)
class DownloadRequest:
    """Content at a URL of http or https; `proxy` is the URL of the proxy that fetches it."""

    url: str = field(repr=False)
    limits: DownloadLimits
    proxy: str | None = field(default=None, repr=False)


async def download(dialer: Dialer, wanted: DownloadRequest) -> bytes:
    """Return the content; raises DownloadError."""
    pieces = bytearray()
    async with _opened(dialer, wanted) as chunks:
        async for chunk in chunks:
            pieces += chunk
    return bytes(pieces)


@asynccontextmanager
async def _opened(dialer: Dialer, wanted: DownloadRequest) -> AsyncIterator[AsyncIterator[bytes]]:
    timeout = aiohttp.ClientTimeout(total=wanted.limits.seconds)
    try:
        async with (
            aiohttp.ClientSession(
                connector=judged_connector(dialer, force_close=True),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,  # what is limited must not grow afterwards
                headers={"User-Agent": "upwell", "Accept-Encoding": "identity"},
                timeout=timeout,
            ) as session,
            session.get(wanted.url, max_redirects=_MAX_REDIRECTS, proxy=wanted.proxy) as response,
        ):
            if not HTTPStatus.OK <= response.status < HTTPStatus.MULTIPLE_CHOICES:
                raise _unanswered(response.status)
            if wanted.url.startswith("https:") and response.url.scheme != "https":
                raise DownloadError("it redirects from https to plain http")
            yield _limited(response, wanted.limits.content_bytes)
    except TimeoutError as error:
        why = f"no complete answer within {wanted.limits.seconds:g} s"
        raise DownloadError(why, retryable=True) from error
    except aiohttp.InvalidURL as error:
        raise DownloadError("its address cannot be used") from error
    except aiohttp.ClientConnectorError as error:
        why = connection_failure(error.host, error.port, error.os_error)
        raise DownloadError(why, retryable=True) from error
    except (aiohttp.ClientError, ValueError) as error:
        # Its text may have what was answered, or a password of the URL.
        raise DownloadError(type(error).__name__[:_MAX_WHY], retryable=True) from error


def _unanswered(status: int) -> DownloadError:
    passing = status >= HTTPStatus.INTERNAL_SERVER_ERROR or status == HTTPStatus.TOO_MANY_REQUESTS
    return DownloadError(f"HTTP {status}", retryable=passing, status=status)


async def _limited(response: aiohttp.ClientResponse, limit: int) -> AsyncIterator[bytes]:
    left = limit
    async for chunk in response.content.iter_chunked(_CHUNK):
        left -= len(chunk)
        if left < 0:
            raise DownloadError(f"over {limit} bytes")
        yield chunk
