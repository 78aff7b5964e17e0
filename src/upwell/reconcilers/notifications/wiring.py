"""Everything about Subscriptions that runs, and what the API asks of it."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from upwell.api.core import Secret
from upwell.api.meta import ObjectKey
from upwell.api.subscription import Subscription
from upwell.controller import Controller, ObjectCache, Watch, of_both
from upwell.delivery.interface import NoticeSinks, Outbox, OutboxError, WebhookSinks
from upwell.reconcilers.notifications.collector import (
    EventCollector,
    event_collector_controller,
)
from upwell.reconcilers.notifications.digests import Digests
from upwell.reconcilers.notifications.dispatcher import Dispatcher
from upwell.reconcilers.notifications.reconciler import SubscriptionReconciler
from upwell.reconcilers.notifications.requests import SubscriptionRequests
from upwell.reconcilers.notifications.targets import Targets
from upwell.store.interface import StoreError

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
    """`controllers` and `loops` run until cancelled; `requests` answers people.

    `source` is the server's URL.
    """

    def __init__(
        self, cache: ObjectCache, senders: Senders, source: str, clock: Callable[[], datetime]
    ) -> None:
        outbox, store = senders.outbox, cache.store
        targets = Targets(store, senders.webhooks, senders.notices)
        courier = Dispatcher(store, outbox, targets, clock, self._report)
        digests = Digests(store, outbox, source, clock)
        self._beside = cache.index(Subscription, lambda one: (one.namespace,))
        self._courier = courier
        self._reconciler = SubscriptionReconciler(store, outbox, targets, digests, courier, clock)
        self._controller = Controller(
            "subscriptions",
            self._reconciler,
            cache,
            (Watch(Subscription), Watch(Secret, of_both(self._users))),
            workers=1,
        )
        collector = EventCollector(store, outbox, source, clock, courier.wake)
        self.controllers = (event_collector_controller(collector, cache), self._controller)
        self.requests = SubscriptionRequests(store, outbox, targets, courier, source, clock)

    @property
    def loops(self) -> Sequence[Callable[[], Coroutine[Any, Any, None]]]:
        """What runs beside the controllers."""
        return (self._courier.run, self._sweep)

    def _report(self, key: ObjectKey) -> None:
        self._controller.queue.add_after(key, _REPORT_SECONDS)

    def _users(self, secret: Secret) -> Iterable[ObjectKey]:
        """Yield the Subscriptions that may use a Secret, and end their pauses."""
        for subscription in self._beside.get(secret.namespace):
            self._courier.reopen(subscription.uid)
            yield subscription.key

    async def _sweep(self) -> None:
        while True:
            try:
                await self._reconciler.sweep()
            except (StoreError, OutboxError) as error:
                log.warning("deliveries not swept", extra={"error": error})
            await asyncio.sleep(_SWEEP_SECONDS)
