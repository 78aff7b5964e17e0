"""CloudEvents over HTTP: structured JSON by POST (CloudEvents HTTP Protocol Binding 1.0, 3.2)."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Self

import aiohttp

from upwell.formats.cloud_events import CONTENT_TYPE, SIGNATURE_HEADER, signature
from upwell.machine.clock import now
from upwell.outbound.dialing import Dialer
from upwell.outbound.policy import ForbiddenAddressError
from upwell.outbound.sessions import judged_connector

_SECONDS = 15.0
"""For one request, from the look-up of the name to the head of the answer."""
_MAX_REASON = 60


class PostError(Exception):
    """There was no answer; the message says why, without secrets.

    `permanent`: the same request would fail again.
    """

    def __init__(self, message: str, *, permanent: bool = False) -> None:
        super().__init__(message)
        self.permanent = permanent


@dataclass(frozen=True, slots=True)
class EventPost:
    """An event as the bytes that are sent, and where to."""

    url: str
    body: bytes = field(repr=False)
    secret: bytes = field(default=b"", repr=False)
    """Signs the body; empty: not signed."""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    content_type: str = CONTENT_TYPE


@dataclass(frozen=True, slots=True)
class PostAnswer:
    """Head of an answer."""

    status: int
    reason: str = ""
    retry_after: float | None = None
    """The pause that the receiver asks for, in seconds."""

    def __str__(self) -> str:
        """Return the status line, for people."""
        return f"{self.status} {self.reason}".strip()

    @property
    def is_success(self) -> bool:
        """True if the receiver has taken the event."""
        return HTTPStatus.OK <= self.status < HTTPStatus.MULTIPLE_CHOICES


class EventClient:
    """POSTs events. Redirects are not followed; what is answered is not read."""

    def __init__(self, session: aiohttp.ClientSession, seconds: float) -> None:
        self._session = session
        self._seconds = seconds

    @classmethod
    @asynccontextmanager
    async def open(
        cls, version: str, dialer: Dialer, *, seconds: float | None = None
    ) -> AsyncIterator[Self]:
        """Hold the connections while the block lasts."""
        seconds = seconds or _SECONDS
        session = aiohttp.ClientSession(
            connector=judged_connector(dialer, limit_per_host=8),
            timeout=aiohttp.ClientTimeout(total=seconds),
            headers={"User-Agent": f"upwell/{version}"},
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        async with session:
            yield cls(session, seconds)

    async def post(self, event: EventPost) -> PostAnswer:
        """Send an event and return the answer, whatever its status is; raises PostError."""
        headers = {**event.headers, "Content-Type": event.content_type}
        if event.secret:
            headers[SIGNATURE_HEADER] = signature(event.secret, event.body)
        try:
            async with self._session.post(
                event.url, data=event.body, headers=headers, allow_redirects=False
            ) as response:
                return _answer(response)
        except TimeoutError as error:
            raise PostError(f"the receiver did not answer within {self._seconds:g} s") from error
        except aiohttp.InvalidURL as error:
            raise PostError("the receiver's URL cannot be used", permanent=True) from error
        except aiohttp.ClientConnectorError as error:
            raise _no_connection(error.os_error) from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            # The text may hold what the receiver sent: the class says enough.
            raise PostError(f"no proper answer: {type(error).__name__}") from error


def _no_connection(cause: OSError) -> PostError:
    forbidden = isinstance(cause, ForbiddenAddressError)
    return PostError(f"cannot connect: {cause.strerror or cause}", permanent=forbidden)


def _answer(response: aiohttp.ClientResponse) -> PostAnswer:
    said = (response.reason or "")[:_MAX_REASON]
    reason = "".join(letter for letter in said if letter.isprintable())
    pause = _retry_after(response.headers.get("Retry-After", ""))
    return PostAnswer(response.status, reason, pause)


def _retry_after(text: str) -> float | None:
    """Return the seconds of a Retry-After (RFC 9110, 10.2.3): a number, or a date."""
    text = text.strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        then = parsedate_to_datetime(text)
    except ValueError:
        return None
    aware = then if then.tzinfo is not None else then.replace(tzinfo=UTC)
    return max((aware - now()).total_seconds(), 0.0)
