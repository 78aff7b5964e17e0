"""Everything about Subscriptions that runs, and what the API asks of it."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from upwell.api.core import Secret
from upwell.api.meta import ObjectKey, Resource
from upwell.api.subscription import Subscription
from upwell.controller import Controller, Watch
from upwell.delivery.interface import NoticeSinks, Outbox, OutboxError, WebhookSinks
from upwell.reconcilers.notifications import collector as telling
from upwell.reconcilers.notifications.collector import EventCollector
from upwell.reconcilers.notifications.digests import Digests
from upwell.reconcilers.notifications.dispatcher import Dispatcher
from upwell.reconcilers.notifications.reconciler import SubscriptionReconciler
from upwell.reconcilers.notifications.requests import SubscriptionRequests
from upwell.reconcilers.notifications.targets import Targets
from upwell.store.interface import Selector, Store, StoreError

log = logging.getLogger(__name__)

_REPORT_SECONDS = 1.0
"""Deliveries of this time share one report."""
_SWEEP_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class Senders:
    """The adapters: what keeps, and what sends."""

    outbox: Outbox
    webhooks: WebhookSinks
    notices: NoticeSinks


class Subscriptions:
    """`loops` run until cancelled; `requests` answers people. `source` is the server's URL."""

    def __init__(
        self, store: Store, senders: Senders, source: str, clock: Callable[[], datetime]
    ) -> None:
        outbox = senders.outbox
        targets = Targets(store, senders.webhooks, senders.notices)
        courier = Dispatcher(store, outbox, targets, clock, self._report)
        digests = Digests(store, outbox, source, clock)
        self._store = store
        self._courier = courier
        self._reconciler = SubscriptionReconciler(store, outbox, targets, digests, courier, clock)
        self._controller = Controller(
            "subscriptions",
            self._reconciler,
            store,
            (Watch(Subscription), Watch(Secret, self._users)),
            workers=1,
        )
        teller = EventCollector(store, outbox, source, clock, courier.wake)
        self._telling = telling.controller(teller, store)
        self.requests = SubscriptionRequests(store, outbox, targets, courier, source, clock)

    @property
    def loops(self) -> Sequence[Callable[[], Coroutine[Any, Any, None]]]:
        """What runs."""
        return (self._telling.run, self._courier.run, self._controller.run, self._sweep)

    def _report(self, key: ObjectKey) -> None:
        self._controller.queue.add_after(key, _REPORT_SECONDS)

    async def _users(self, secret: Resource) -> Iterable[ObjectKey]:
        """Return the Subscriptions that may use a Secret, and end their pauses."""
        beside = await self._store.list(Subscription, Selector(namespace=secret.namespace))
        for subscription in beside.items:
            self._courier.reopen(subscription.uid)
        return [subscription.key for subscription in beside.items]

    async def _sweep(self) -> None:
        while True:
            try:
                await self._reconciler.sweep()
            except (StoreError, OutboxError) as error:
                log.warning("deliveries not swept", extra={"error": error})
            await asyncio.sleep(_SWEEP_SECONDS)
