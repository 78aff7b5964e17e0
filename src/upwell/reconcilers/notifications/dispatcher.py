"""Carries events from the outbox to their receivers: in order within a subject, subjects at once.

A delivery that fails is tried again, with the events of its subject waiting behind it, until it
succeeds or is given up. All that must be remembered stands in the outbox: a dispatcher that was
killed delivers again, at most, what was on its way.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from upwell.api.meta import ObjectKey
from upwell.api.subscription import Subscription
from upwell.delivery.interface import Delivery, DeliveryError, Outbox, OutboxError
from upwell.machine.backoff import Backoff
from upwell.reconcilers.notifications.shared_outbox import TakenOver, at_once
from upwell.reconcilers.notifications.targets import TargetError, Targets
from upwell.store.interface import Store, StoreError

log = logging.getLogger(__name__)

AT_ONCE = 4
"""Deliveries of one Subscription that are under way at a time."""
_TARGET_PAUSE = timedelta(seconds=30)
"""Before a Subscription whose settings cannot be used is looked at again, if nothing changes."""
_FAULT_PAUSE = 5.0
"""Seconds, when store or outbox cannot be read."""
_LONGEST_SLEEP = 30.0
"""Seconds: no jump of the clock is slept through."""
_LONGEST_RETRY_AFTER = 6 * 3600.0
_LONGEST_WAIT = timedelta(seconds=_LONGEST_RETRY_AFTER + 60)


@dataclass(slots=True)
class _Route:
    """Deliveries that the dispatcher has under way for one Subscription."""

    subjects: set[str] = field(default_factory=set)
    closed_until: datetime | None = None
    """The receiver, or what is wrong with the settings, asks for a pause."""


class Dispatcher:
    """Delivers for ever; `on_try` is called with the Subscription after each try."""

    def __init__(
        self,
        store: Store,
        outbox: Outbox,
        targets: Targets,
        clock: Callable[[], datetime],
        on_try: Callable[[ObjectKey], None] = lambda _: None,
        taken_over: TakenOver = at_once,
    ) -> None:
        self._store = store
        self._outbox = outbox
        self._targets = targets
        self._clock = clock
        self._on_try = on_try
        self._taken_over = taken_over
        self._routes: dict[str, _Route] = {}
        self._wakened = asyncio.Event()

    def wake(self) -> None:
        """Look for new deliveries now."""
        self._wakened.set()

    def reopen(self, subscription: str) -> None:
        """End the pauses of a Subscription: its settings have changed."""
        route = self._routes.get(subscription)
        if route is not None:
            route.closed_until = None
        self.wake()

    async def run(self) -> None:
        """Work until cancelled."""
        await self._taken_over()
        self._routes.clear()  # of an earlier term
        async with asyncio.TaskGroup() as group:
            while True:
                self._wakened.clear()
                try:
                    pause = await self._dispatch(group)
                except (StoreError, OutboxError) as error:
                    log.warning("deliveries wait", extra={"error": error})
                    pause = _FAULT_PAUSE
                try:
                    async with asyncio.timeout(pause):
                        await self._wakened.wait()
                except TimeoutError:
                    continue

    async def _dispatch(self, group: asyncio.TaskGroup) -> float:
        """Start what is due; return the seconds until there is something to do."""
        pause = _LONGEST_SLEEP
        subscriptions = (await self._store.list(Subscription)).items
        alive = {subscription.uid for subscription in subscriptions}
        self._routes = {
            uid: route for uid, route in self._routes.items() if route.subjects or uid in alive
        }
        for subscription in subscriptions:
            if not subscription.spec.suspend and not subscription.is_deleting:
                pause = min(pause, self._start(group, subscription))
        return pause

    def _start(self, group: asyncio.TaskGroup, subscription: Subscription) -> float:
        route = self._routes.setdefault(subscription.uid, _Route())
        now = self._clock()
        if route.closed_until is not None and route.closed_until > now:
            return (route.closed_until - now).total_seconds()
        due = self._outbox.next_due(subscription.uid, AT_ONCE + len(route.subjects))
        for delivery in due:
            subject = delivery.envelope.subject
            if subject in route.subjects:
                continue
            if now < delivery.due <= now + _LONGEST_WAIT:  # else the clock was ahead
                return (delivery.due - now).total_seconds()
            if len(route.subjects) == AT_ONCE:
                break  # one that ends wakes the dispatcher
            route.subjects.add(subject)
            group.create_task(self._carry(subscription, delivery, route))
        return _LONGEST_SLEEP

    async def _carry(self, subscription: Subscription, delivery: Delivery, route: _Route) -> None:
        try:
            await self._try(subscription, delivery, route)
        except (StoreError, OutboxError) as error:
            route.closed_until = self._clock() + timedelta(seconds=_FAULT_PAUSE)
            log.warning("delivery waits", extra={"key": str(subscription.key), "error": error})
        finally:
            route.subjects.discard(delivery.envelope.subject)
            self.wake()
        self._on_try(subscription.key)

    async def _try(self, subscription: Subscription, delivery: Delivery, route: _Route) -> None:
        try:
            sink = await self._targets.sink(subscription)
            await sink.send(delivery.envelope, delivery.reached)
        except TargetError:
            # Not the event's fault: it counts as no try. The condition Ready says what is wrong.
            route.closed_until = self._clock() + _TARGET_PAUSE
        except DeliveryError as error:
            self._after_failure(subscription, delivery, error, route)
        else:
            self._outbox.delivered(delivery, self._clock())

    def _after_failure(
        self, subscription: Subscription, delivery: Delivery, error: DeliveryError, route: _Route
    ) -> None:
        now, retries = self._clock(), subscription.spec.retries
        attempts = delivery.attempts + 1
        given_up = error.permanent or attempts >= retries.attempts
        log.warning(
            "delivery failed",
            extra={
                "key": str(subscription.key),
                "event": delivery.envelope.id,
                "type": delivery.envelope.type,
                "attempts": attempts,
                "given_up": given_up,
                "error": str(error),
            },
        )
        if error.retry_after is not None:
            asked = timedelta(seconds=min(error.retry_after, _LONGEST_RETRY_AFTER))
            route.closed_until = now + asked  # it asks for a rest, whatever is sent
        if given_up:
            self._outbox.dead_letter(delivery, now, str(error))
            return
        backoff = Backoff(first=1.0, longest=float(retries.longest_seconds))
        again = now + timedelta(seconds=backoff.delay(attempts))
        if route.closed_until is not None:
            again = max(again, route.closed_until)
        self._outbox.postpone(delivery, again, str(error), error.reached)
