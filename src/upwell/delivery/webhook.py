"""CloudEvents over HTTP: structured JSON by POST (CloudEvents HTTP Protocol Binding 1.0, 3.2)."""

import re
import socket
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Self, override
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from upwell.api.values.addresses import is_metadata_address
from upwell.delivery.interface import DeliveryError, Envelope, InvalidTargetError, WebhookTarget
from upwell.formats.cloud_events import SIGNATURE_HEADER, signature

_SECONDS = 15.0
"""For one request, from the look-up of the name to the head of the answer."""
_TRANSIENT = {408, 425, 429}
"""Answers of 400 to 499 after which the same request may succeed."""
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}")
"""A header's name (RFC 9110, 5.6.2)."""
_OWN = {"host", "content-length", "content-type", "transfer-encoding", "connection"}
_MAX_VALUE = 8192


class ForbiddenAddressError(OSError):
    """The name leads to an address to which nothing is sent."""


class Webhooks:
    """Makes the sinks that POST; an asynchronous context manager that owns the connections."""

    def __init__(self, version: str, *, seconds: float = _SECONDS) -> None:
        self._version = version
        self._seconds = seconds

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(resolver=_Resolver(), limit_per_host=8),
            timeout=aiohttp.ClientTimeout(total=self._seconds),
            headers={"User-Agent": f"upwell/{self._version}"},
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._session.close()

    def webhook(self, target: WebhookTarget) -> "WebhookSink":
        """Return the sink of a target; raises InvalidTargetError."""
        check_target(target)
        return WebhookSink(self._session, target)


class WebhookSink:
    """POSTs to one URL. Redirects are not followed; what is answered is not read."""

    def __init__(self, session: aiohttp.ClientSession, target: WebhookTarget) -> None:
        self._session = session
        self._target = target

    async def send(self, envelope: Envelope, reached: frozenset[str] = frozenset()) -> str:
        """POST the event; return the status line. Raises DeliveryError."""
        del reached  # there is one receiver
        headers = {**self._target.headers, "Content-Type": self._target.content_type}
        if self._target.secret:
            headers[SIGNATURE_HEADER] = signature(self._target.secret, envelope.body)
        try:
            async with self._session.post(
                self._target.url, data=envelope.body, headers=headers, allow_redirects=False
            ) as response:
                return _judge(response)
        except TimeoutError as error:
            raise DeliveryError("the receiver did not answer in time") from error
        except aiohttp.InvalidURL as error:
            raise DeliveryError("the receiver's URL cannot be used", permanent=True) from error
        except aiohttp.ClientConnectorError as error:
            cause = error.os_error
            forbidden = isinstance(cause, ForbiddenAddressError)
            why = cause.strerror or str(cause)
            raise DeliveryError(f"cannot connect: {why}", permanent=forbidden) from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            # The text may hold what the receiver sent: the class says enough.
            raise DeliveryError(f"no proper answer: {type(error).__name__}") from error


def _judge(response: aiohttp.ClientResponse) -> str:
    """Return the status of an answer that takes the event; raises DeliveryError for another."""
    status = f"{response.status} {_phrase(response.reason)}".strip()
    match response.status:
        case code if 200 <= code < 300:  # noqa: PLR2004 - the class of success
            return status
        case code if 300 <= code < 400:  # noqa: PLR2004 - the class of redirects
            message = f"answered {status}: redirects are not followed, name the final URL"
            raise DeliveryError(message, permanent=True)
        case code if 400 <= code < 500 and code not in _TRANSIENT:  # noqa: PLR2004 - client errors
            raise DeliveryError(f"answered {status}", permanent=True)
        case _:
            wait = _retry_after(response.headers.get("Retry-After", ""))
            raise DeliveryError(f"answered {status}", retry_after=wait)


def _phrase(reason: str | None) -> str:
    return "".join(letter for letter in (reason or "")[:60] if letter.isprintable())


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
    return max((aware - datetime.now(UTC)).total_seconds(), 0.0)


def check_target(target: WebhookTarget) -> None:
    """Raise InvalidTargetError when nothing can be sent with these settings."""
    host = urlsplit(target.url).hostname or ""
    if is_metadata_address(host):  # a literal address is not looked up
        raise InvalidTargetError(f"{host} is link-local: requests to it are refused")
    for name, value in target.headers.items():
        if _TOKEN.fullmatch(name) is None:
            raise InvalidTargetError(f"{name[:40]!r} is not the name of a header")
        if name.lower() in _OWN or name.lower() == SIGNATURE_HEADER.lower():
            raise InvalidTargetError(f"header {name} is set by the server")
        if len(value) > _MAX_VALUE or not value.isprintable() or not value.isascii():
            raise InvalidTargetError(f"the value of header {name} is too long, or not printable")


class _Resolver(AbstractResolver):
    """The system's resolver; no name leads to a metadata service."""

    def __init__(self) -> None:
        self._inner = aiohttp.ThreadedResolver()

    @override
    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._inner.resolve(host, port, family)
        if any(is_metadata_address(one["host"]) for one in found):
            raise ForbiddenAddressError(0, f"{host} is link-local: requests to it are refused")
        return found

    @override
    async def close(self) -> None:
        await self._inner.close()
