"""Puts what objects tell into the outbox, for each Subscription that it concerns.

Level-triggered: events follow from statuses, so that a killed server forgets none; the outbox
knows them by their ids, so that none is sent twice.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

from upwell.api.codec import resource_of_kind
from upwell.api.meta import ObjectKey, Resource
from upwell.api.subscription import Subscription
from upwell.controller import Controller, ObjectCache, Result, Watch, same_key
from upwell.delivery.interface import Envelope, Outbox
from upwell.policy.notifications.cloud_events import addressed_events
from upwell.policy.notifications.subscriptions import concerns, fate_of, is_news
from upwell.policy.rollouts.starts.takeover import quiet_until
from upwell.reconcilers.notifications.events import EVENT_KINDS
from upwell.reconcilers.notifications.shared_outbox import TakenOver, at_once

_INTERNAL = {"Job"}
"""Kinds whose events stay inside."""


class EventCollector:
    """Compares what an object tells with what the outbox knows.

    `source` is the server's URL; `wake` is called when there is something new to deliver.
    """

    def __init__(
        self,
        cache: ObjectCache,
        outbox: Outbox,
        source: str,
        clock: Callable[[], datetime],
        wake: Callable[[], None],
        taken_over: TakenOver = at_once,
    ) -> None:
        self._cache = cache
        self._outbox = outbox
        self._source = source
        self._clock = clock
        self._wake = wake
        self._taken_over = taken_over
        self._subscriptions: Sequence[Subscription] | None = None
        self._unlisted: set[ObjectKey] = set()
        """Objects that have changed since these were listed: a filter may be older than they."""

    async def reconcile(self, key: ObjectKey) -> Result:
        """Keep every event of the object that `key` names; of one that is gone, nothing.

        One that takes the place of a container is told of at the end: what is so then.
        """
        kind = resource_of_kind(key.kind)
        await self._cache.ready(kind)
        await self._taken_over()
        resource = self._cache.get(kind, key.namespace, key.name)
        events = [] if resource is None else list(addressed_events(resource))
        if not events:
            self._unlisted.discard(key)  # no filter is asked about it until it changes again
            return Result()
        now, new = self._clock(), 0
        until = None if resource is None else quiet_until(resource, now)
        if until is not None:
            return Result((until - now).total_seconds())
        for subscription in await self._subscriptions_for(key):
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

    def changed(self, before: Resource | None, after: Resource | None) -> Iterable[ObjectKey]:
        """Return the key of a change that the cache has now: filters are read anew for it."""
        for key in same_key(before, after):
            self._unlisted.add(key)
            yield key

    async def _subscriptions_for(self, key: ObjectKey) -> Sequence[Subscription]:
        """Return the Subscriptions by filters that are no older than the object in the cache.

        One list serves all objects that have changed before it.
        """
        if self._subscriptions is None or key in self._unlisted:
            self._subscriptions, self._unlisted = None, set()
            self._subscriptions = (await self._cache.store.list(Subscription)).items
        return self._subscriptions


def event_collector_controller(collector: EventCollector, cache: ObjectCache) -> Controller:
    """Return the controller that listens to all kinds. One worker: in order of arrival."""
    watches = [
        Watch(kind, collector.changed) for kind in EVENT_KINDS if kind.KIND.kind not in _INTERNAL
    ]
    return Controller("subscriptions-telling", collector, cache, watches, workers=1)
