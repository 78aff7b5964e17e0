"""Receivers in memory, in the place of webhooks and notices."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from upwell.delivery.apprise import check_urls
from upwell.delivery.interface import DeliveryError, Envelope, WebhookTarget
from upwell.delivery.webhook import check_target

type Answer = Callable[[Envelope], DeliveryError | None]


def _takes(_: Envelope) -> DeliveryError | None:
    return None


@dataclass
class Receivers:
    """Remembers what came in; `answer` says what is refused, `gate` holds answers back."""

    received: list[Envelope] = field(default_factory=list)
    refused: list[Envelope] = field(default_factory=list)
    targets: list[WebhookTarget] = field(default_factory=list)
    urls: list[str] = field(default_factory=list)
    away: set[str] = field(default_factory=set)
    """Those of `urls` that nothing arrives at."""
    answer: Answer = _takes
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    at_once: int = 0
    most_at_once: int = 0

    def __post_init__(self) -> None:
        self.gate.set()

    def webhook(self, target: WebhookTarget) -> "ReceivingSink":
        check_target(target)
        self.targets.append(target)
        return ReceivingSink(self, (target.url,))

    def notice(self, urls: Sequence[str]) -> "ReceivingSink":
        check_urls(urls)
        self.urls = list(urls)
        return ReceivingSink(self, urls)

    def take(self, envelope: Envelope, url: str) -> DeliveryError | None:
        """Let an event arrive at one address; return why it did not."""
        error = DeliveryError("not reached") if url in self.away else self.answer(envelope)
        (self.received if error is None else self.refused).append(envelope)
        return error

    @property
    def types(self) -> list[str]:
        return [one.type.removeprefix("dev.upwell.") for one in self.received]


@dataclass
class ReceivingSink:
    """Implements Sink: each address that has not been reached gets the event once."""

    receivers: Receivers
    urls: Sequence[str]

    async def send(self, envelope: Envelope, reached: frozenset[str] = frozenset()) -> str:
        told = self.receivers
        told.at_once += 1
        told.most_at_once = max(told.most_at_once, told.at_once)
        try:
            await told.gate.wait()
        finally:
            told.at_once -= 1
        names = {f"address {number}": url for number, url in enumerate(dict.fromkeys(self.urls))}
        tried = {
            name: told.take(envelope, url) for name, url in names.items() if name not in reached
        }
        have = frozenset(name for name, fault in tried.items() if fault is None)
        for error in filter(None, tried.values()):
            if len(names) == 1:
                raise error
            raise DeliveryError(str(error), reached=reached | have)
        return "204 No Content"
