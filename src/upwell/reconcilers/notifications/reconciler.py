"""Writes into each Subscription how it goes, and makes its digests when they are due."""

from collections.abc import Callable, Iterable
from datetime import datetime

from upwell.api.conditions import set_condition
from upwell.api.core import Secret
from upwell.api.meta import Condition, ObjectKey
from upwell.api.subscription import Subscription
from upwell.controller import Controller, ObjectCache, Result, Watch, WorkQueue, of_both
from upwell.delivery.interface import DeliveryStats, Outbox
from upwell.policy.jobs.cron import CronError
from upwell.policy.notifications.subscriptions import DEAD_FOR, KEPT_FOR
from upwell.reconcilers.authority import ASK_AGAIN_SECONDS, MISSING_RIGHT
from upwell.reconcilers.notifications.digests import Digests
from upwell.reconcilers.notifications.dispatcher import Dispatcher
from upwell.reconcilers.notifications.shared_outbox import SharedOutbox, at_once
from upwell.reconcilers.notifications.targets import TargetError, Targets
from upwell.store.interface import NotFoundError, Store

READY = "Ready"


class SubscriptionReconciler:
    """One Subscription at a time."""

    def __init__(
        self,
        store: Store,
        outbox: Outbox,
        targets: Targets,
        digests: Digests,
        dispatcher: Dispatcher,
        clock: Callable[[], datetime],
        shared: SharedOutbox | None = None,
    ) -> None:
        self._store = store
        self._outbox = outbox
        self._targets = targets
        self._digests = digests
        self._dispatcher = dispatcher
        self._clock = clock
        self._shared = shared
        self._taken_over = at_once if shared is None else shared.taken_over

    async def reconcile(self, key: ObjectKey) -> Result:
        """Bring the status of the Subscription that `key` names up to date."""
        await self._taken_over()
        try:
            found = await self._store.get(Subscription, key.namespace, key.name)
        except NotFoundError:
            await self.remove_old()
            return Result()
        if found.status.observed_generation != found.generation:
            self._outbox.retry_now(found.uid)
            self._dispatcher.reopen(found.uid)
        if found.status.replays:
            await self._replay(found)
        last, following, fault = await self._digest(found)
        ready = fault or await self._ready(found)
        await self._report(found, ready, last)
        pauses = [ASK_AGAIN_SECONDS] if ready.reason == MISSING_RIGHT else []
        if following is not None:
            pauses.append(max((following - self._clock()).total_seconds(), 0.0))
        return Result(min(pauses, default=None))

    async def remove_old(self) -> None:
        """Forget Subscriptions that are gone, and what was settled long ago."""
        await self._taken_over()
        kept = self._outbox.subscriptions()  # before the list: none that is new is taken for gone
        alive = {one.uid for one in (await self._store.list(Subscription)).items}
        for uid in kept:
            if uid not in alive:
                self._outbox.forget(uid)
        now = self._clock()
        self._outbox.remove_old(now - KEPT_FOR, now - DEAD_FOR)

    async def _replay(self, subscription: Subscription) -> None:
        """Send again what another replica was asked to, and keep that before it is forgotten."""
        self._outbox.replay(subscription.uid, subscription.status.replays)
        self._dispatcher.reopen(subscription.uid)
        if self._shared is not None:
            await self._shared.write()

    async def _digest(
        self, subscription: Subscription
    ) -> tuple[datetime | None, datetime | None, Condition | None]:
        """Return the last digest's time, the next one's, and what is wrong with the schedule."""
        last, digest = subscription.status.last_digest, subscription.spec.digest
        if digest is None:
            if self._outbox.stats(subscription.uid).gathered:
                self._outbox.release(subscription.uid)
                self._dispatcher.wake()
            return last, None, None
        try:
            made, following = await self._digests.make(subscription, digest)
        except CronError as error:
            return last, None, _condition("False", error.reason, str(error))
        if made != last:
            self._dispatcher.wake()
        return made, following, None

    async def _ready(self, subscription: Subscription) -> Condition:
        if subscription.spec.suspend:
            return _condition("False", "Suspended", "spec.suspend is set: events are kept")
        try:
            await self._targets.sink(subscription)
        except TargetError as error:
            return _condition("False", error.reason, str(error))
        trouble = self._outbox.stats(subscription.uid).trouble
        if trouble:
            return _condition("False", "DeliveryFailed", f"it is tried again: {trouble}")
        return _condition("True", "Delivering", "")

    async def _report(
        self, subscription: Subscription, ready: Condition, last_digest: datetime | None
    ) -> None:
        stats, status = self._outbox.stats(subscription.uid), subscription.status
        condition = ready.model_copy(update={"observed_generation": subscription.generation})
        changed = status.model_copy(
            update={
                "observed_generation": subscription.generation,
                "conditions": set_condition(status.conditions, condition, self._clock()),
                **_numbers(stats),
                "last_digest": last_digest,
                "replays": (),
            }
        )
        if changed != status:
            await self._store.update_status(subscription.with_status(changed))


def subscription_controller(
    reconciler: SubscriptionReconciler,
    dispatcher: Dispatcher,
    cache: ObjectCache,
    queue: WorkQueue[ObjectKey],
) -> Controller:
    """Return the controller of Subscriptions; `queue` takes those that were delivered to."""
    beside = cache.index(Subscription, lambda one: (one.namespace,))

    def users(secret: Secret) -> Iterable[ObjectKey]:
        """Yield the Subscriptions that may use a Secret, and end their pauses."""
        for subscription in beside.get(secret.namespace):
            dispatcher.reopen(subscription.uid)
            yield subscription.key

    watches = (Watch(Subscription), Watch(Secret, of_both(users)))
    return Controller("subscriptions", reconciler, cache, watches, queue=queue, workers=1)


def _numbers(stats: DeliveryStats) -> dict[str, object]:
    return {
        "delivered": stats.delivered,
        "pending": stats.pending + stats.gathered,
        "dead_letters": stats.dead,
        "last_delivery": stats.last_delivery,
    }


def _condition(status: str, reason: str, message: str) -> Condition:
    return Condition(type=READY, status=status, reason=reason, message=message)
