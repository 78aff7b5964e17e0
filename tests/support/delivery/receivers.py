"""Receivers in memory, in the place of webhooks and notices."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from upwell.delivery.interface import (
    DeliveryError,
    Envelope,
    InvalidTargetError,
    WebhookTarget,
)

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
    answer: Answer = _takes
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    at_once: int = 0
    most_at_once: int = 0

    def __post_init__(self) -> None:
        self.gate.set()

    def webhook(self, target: WebhookTarget) -> "Receivers":
        if "bad header" in target.headers:
            raise InvalidTargetError("'bad header' is not the name of a header")
        self.targets.append(target)
        return self

    def notice(self, urls: Sequence[str]) -> "Receivers":
        self.urls = list(urls)
        return self

    async def send(self, envelope: Envelope, reached: frozenset[str] = frozenset()) -> str:
        del reached
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await self.gate.wait()
        finally:
            self.at_once -= 1
        error = self.answer(envelope)
        if error is not None:
            self.refused.append(envelope)
            raise error
        self.received.append(envelope)
        return "204 No Content"

    @property
    def types(self) -> list[str]:
        return [one.type.removeprefix("dev.upwell.") for one in self.received]
