"""Webhooks: events by POST to the URL of a Subscription."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Self
from urllib.parse import urlsplit

from upwell.api.values.addresses import is_metadata_address
from upwell.delivery.interface import DeliveryError, Envelope, InvalidTargetError, WebhookTarget
from upwell.formats.cloud_events import SIGNATURE_HEADER
from upwell.outbound.dialing import Dialer
from upwell.outbound.signed_events import EventClient, EventPost, PostAnswer, PostError

_TRANSIENT = {408, 425, 429}
"""Answers of 400 to 499 after which the same request may succeed."""
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}")
"""A header's name (RFC 9110, 5.6.2)."""
_OWN = {"host", "content-length", "content-type", "transfer-encoding", "connection"}
_MAX_VALUE = 8192


class Webhooks:
    """Makes the sinks that POST; made by `Webhooks.open`."""

    def __init__(self, events: EventClient) -> None:
        self._events = events

    @classmethod
    @asynccontextmanager
    async def open(
        cls, version: str, dialer: Dialer, *, seconds: float | None = None
    ) -> AsyncIterator[Self]:
        """Hold the connections while the block lasts."""
        async with EventClient.open(version, dialer, seconds=seconds) as events:
            yield cls(events)

    def webhook(self, target: WebhookTarget) -> "WebhookSink":
        """Return the sink of a target; raises InvalidTargetError."""
        check_target(target)
        return WebhookSink(self._events, target)


class WebhookSink:
    """POSTs to one URL."""

    def __init__(self, events: EventClient, target: WebhookTarget) -> None:
        self._events = events
        self._target = target

    async def send(self, envelope: Envelope, reached: frozenset[str] = frozenset()) -> str:
        """POST the event; return the status line. Raises DeliveryError."""
        del reached  # there is one receiver
        to = self._target
        post = EventPost(to.url, envelope.body, to.secret, to.headers, to.content_type)
        try:
            return _judge(await self._events.post(post))
        except PostError as error:
            raise DeliveryError(str(error), permanent=error.permanent) from error


def _judge(answer: PostAnswer) -> str:
    """Return the status of an answer that takes the event; raises DeliveryError for another."""
    if answer.is_success:
        return str(answer)
    match answer.status:
        case code if 300 <= code < 400:  # noqa: PLR2004 - the class of redirects
            message = f"answered {answer}: redirects are not followed, name the final URL"
            raise DeliveryError(message, permanent=True)
        case code if 400 <= code < 500 and code not in _TRANSIENT:  # noqa: PLR2004 - client errors
            raise DeliveryError(f"answered {answer}", permanent=True)
        case _:
            raise DeliveryError(f"answered {answer}", retry_after=answer.retry_after)


def check_target(target: WebhookTarget) -> None:
    """Raise InvalidTargetError when nothing can be sent with these settings."""
    host = urlsplit(target.url).hostname or ""
    if is_metadata_address(host):  # said before the first event, if the URL itself has it
        raise InvalidTargetError(f"{host} is link-local: requests to it are refused")
    for name, value in target.headers.items():
        if _TOKEN.fullmatch(name) is None:
            raise InvalidTargetError(f"{name[:40]!r} is not the name of a header")
        if name.lower() in _OWN or name.lower() == SIGNATURE_HEADER.lower():
            raise InvalidTargetError(f"header {name} is set by the server")
        if len(value) > _MAX_VALUE or not value.isprintable() or not value.isascii():
            raise InvalidTargetError(f"the value of header {name} is too long, or not printable")
