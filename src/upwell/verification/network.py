"""The verification port over the network."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Self

from upwell.outbound.dialing import Dialer, unrestricted
from upwell.outbound.signed_events import EventClient, EventPost, PostError
from upwell.verification import prometheus
from upwell.verification.http import HttpClient, ResponseLimits, parse_url, place
from upwell.verification.interface import (
    HttpAnswer,
    HttpQuestion,
    MetricQuestion,
    ProbeError,
    SignedEvent,
)


class NetworkProbes:
    """Implements Probes; made by `NetworkProbes.open`."""

    def __init__(
        self,
        dialers: tuple[Dialer, Dialer],
        client: HttpClient,
        events: EventClient,
        limits: ResponseLimits,
    ) -> None:
        """`dialers` connect to what objects name, and to what the server itself has found."""
        self._dialer, self._instances = dialers
        self._client = client
        self._events = events
        self._limits = limits

    @classmethod
    @asynccontextmanager
    async def open(
        cls, version: str, dialer: Dialer, limits: ResponseLimits | None = None
    ) -> AsyncIterator[Self]:
        """Hold the clients while the block lasts; `limits` are those of questions and events."""
        instances = unrestricted()
        given = limits or ResponseLimits()
        async with (
            HttpClient.open(dialer, instances, given) as client,
            EventClient.open(version, dialer, seconds=limits.seconds if limits else None) as events,
        ):
            yield cls((dialer, instances), client, events, given)

    async def get(self, question: HttpQuestion) -> HttpAnswer:
        """Send a request and return its answer, whatever its status is."""
        return await self._client.get(question)

    async def connect(self, host: str, port: int, *, instance: bool = False) -> None:
        """Return when a connection was accepted (it is closed again)."""
        try:
            async with asyncio.timeout(self._limits.seconds):
                dialer = self._instances if instance else self._dialer
                _, writer = await dialer.open_connection(host, port)
        except TimeoutError as error:
            seconds = self._limits.seconds
            raise ProbeError(f"{host}:{port} did not accept within {seconds:g} s") from error
        except (OSError, ValueError, OverflowError) as error:
            raise ProbeError(f"{host}:{port} cannot be reached: {error}") from error
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()

    async def measure(self, question: MetricQuestion) -> float | None:
        """Return the one finite number that a query gives; None when it gives none."""
        return await prometheus.measure(self._client, question)

    async def tell(self, event: SignedEvent) -> None:
        """Deliver an event; returns when the receiver has taken it."""
        where = place(parse_url(event.url).origin())
        try:
            answer = await self._events.post(EventPost(event.url, event.body, event.secret))
        except PostError as error:
            raise ProbeError(f"{where}: {error}") from error
        if not answer.is_success:
            raise ProbeError(f"{where} answered {answer.status}")
