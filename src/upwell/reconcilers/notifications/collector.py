"""Puts what objects tell into the outbox, for each Subscription that it concerns.

Level-triggered: events follow from statuses, so that a killed server forgets none; the outbox
knows them by their ids, so that none is sent twice.
"""

from collections.abc import Callable
from datetime import datetime

from upwell.api.codec import resource_of_kind
from upwell.api.meta import ObjectKey
from upwell.api.subscription import Subscription
from upwell.controller import Controller, ObjectCache, Result, Watch
from upwell.delivery.interface import Envelope, Outbox
from upwell.policy.notifications.cloud_events import addressed_events
from upwell.policy.notifications.subscriptions import concerns, fate_of, is_news
from upwell.reconcilers.notifications.events import EVENT_KINDS
from upwell.store.interface import NotFoundError, Store

_INTERNAL = {"Job"}
"""Kinds whose events stay inside."""


class EventCollector:
    """Compares what an object tells with what the outbox knows.

    `source` is the server's URL; `wake` is called when there is something new to deliver.
    """

    def __init__(
        self,
        store: Store,
        outbox: Outbox,
        source: str,
        clock: Callable[[], datetime],
        wake: Callable[[], None],
    ) -> None:
        self._store = store
        self._outbox = outbox
        self._source = source
        self._clock = clock
        self._wake = wake

    async def reconcile(self, key: ObjectKey) -> Result:
        """Keep every event of the object that `key` names; of one that is gone, nothing."""
        if not (await self._store.list(Subscription)).items:
            return Result()
        try:
            resource = await self._store.get(resource_of_kind(key.kind), key.namespace, key.name)
        except NotFoundError:
            return Result()
        # After the object: what it tells is judged by filters that are no older than it is.
        subscriptions = (await self._store.list(Subscription)).items
        now, events = self._clock(), list(addressed_events(resource))
        new = 0
        for subscription in subscriptions:
            news = [
                (Envelope.of(event, self._source), fate_of(subscription, audience, event))
                for event, audience in events
                if concerns(subscription, audience) and is_news(subscription, event, now)
            ]
            if news:
                new += self._outbox.add(subscription.uid, news, now)
        if new:
            self._wake()
        return Result()


def event_collector_controller(collector: EventCollector, cache: ObjectCache) -> Controller:
    """Return the controller that listens to all kinds. One worker: in order of arrival."""
    watches = [Watch(kind) for kind in EVENT_KINDS if kind.KIND.kind not in _INTERNAL]
    return Controller("subscriptions-telling", collector, cache, watches, workers=1)
