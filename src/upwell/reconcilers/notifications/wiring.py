"""Controllers and loops of Subscriptions."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from upwell.api.meta import ObjectKey
from upwell.controller import ObjectCache, WorkQueue
from upwell.delivery.interface import NoticeSinks, Outbox, OutboxError, WebhookSinks
from upwell.reconcilers.authority import UNASKED, Authority
from upwell.reconcilers.notifications.collector import (
    EventCollector,
    event_collector_controller,
)
from upwell.reconcilers.notifications.digests import Digests
from upwell.reconcilers.notifications.dispatcher import Dispatcher
from upwell.reconcilers.notifications.reconciler import (
    SubscriptionReconciler,
    subscription_controller,
)
from upwell.reconcilers.notifications.shared_outbox import SharedOutbox, at_once
from upwell.reconcilers.notifications.targets import Targets
from upwell.store.interface import StoreError

log = logging.getLogger(__name__)

_REPORT_SECONDS = 1.0
"""Deliveries of this time share one report."""
_CLEANUP_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class Senders:
    """The adapters: what keeps, and what sends."""

    outbox: Outbox
    webhooks: WebhookSinks
    notices: NoticeSinks
    shared: SharedOutbox | None = None
    """The outbox as replicas share it; None: there are no others."""


class Subscriptions:
    """Deliveries to Subscriptions: `controllers` and `loops` run until cancelled.

    `source` is the server's URL.
    """

    def __init__(
        self,
        cache: ObjectCache,
        senders: Senders,
        source: str,
        clock: Callable[[], datetime],
        authority: Authority = UNASKED,
    ) -> None:
        store = cache.store
        self.outbox = senders.outbox
        self.shared = senders.shared
        taken_over = at_once if senders.shared is None else senders.shared.taken_over
        self.targets = Targets(store, senders.webhooks, senders.notices, authority)
        queue = WorkQueue[ObjectKey]()
        report = partial(queue.add_after, seconds=_REPORT_SECONDS)
        self.dispatcher = Dispatcher(store, self.outbox, self.targets, clock, report, taken_over)
        digests = Digests(store, self.outbox, source, clock)
        self._reconciler = SubscriptionReconciler(
            store, self.outbox, self.targets, digests, self.dispatcher, clock, senders.shared
        )
        collector = EventCollector(
            cache, self.outbox, source, clock, self.dispatcher.wake, taken_over
        )
        self.controllers = (
            event_collector_controller(collector, cache),
            subscription_controller(self._reconciler, self.dispatcher, cache, queue),
        )

    @property
    def loops(self) -> Sequence[Callable[[], Coroutine[Any, Any, None]]]:
        """Loops that run beside the controllers."""
        keep = () if self.shared is None else (self.shared.keep,)
        return (*keep, self.dispatcher.run, self._remove_old)

    async def _remove_old(self) -> None:
        while True:
            try:
                await self._reconciler.remove_old()
            except (StoreError, OutboxError) as error:
                log.warning("old deliveries not removed", extra={"error": error})
            await asyncio.sleep(_CLEANUP_SECONDS)
