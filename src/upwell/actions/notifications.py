"""Subscriptions that people test, their dead letters, and those sent again."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from upwell.api.subscription import Subscription
from upwell.delivery.interface import DeadLetter, DeliveryError, Envelope, Outbox
from upwell.policy.notifications.cloud_events import trial_event
from upwell.reconcilers.notifications.dispatcher import Dispatcher
from upwell.reconcilers.notifications.shared_outbox import SharedOutbox
from upwell.reconcilers.notifications.targets import TargetError, Targets
from upwell.store.interface import Store
from upwell.store.retry import update_with_retry


@dataclass(frozen=True, slots=True)
class TrialDelivery:
    """The outcome of a test: the event's id, whether it came through, and the answer or fault."""

    id: str
    delivered: bool
    message: str


class SubscriptionActions:
    """Tests, dead letters and replays of Subscriptions; each method raises NotFoundError."""

    def __init__(
        self,
        store: Store,
        outbox: Outbox,
        targets: Targets,
        dispatcher: Dispatcher,
        source: str,
        clock: Callable[[], datetime],
        shared: SharedOutbox | None = None,
    ) -> None:
        self._store = store
        self._outbox = outbox
        self._targets = targets
        self._dispatcher = dispatcher
        self._source = source
        self._clock = clock
        self._shared = shared

    async def test(self, namespace: str, name: str) -> TrialDelivery:
        """Send a `dev.upwell.test` now, past the outbox, and say what came back."""
        subscription = await self._store.get(Subscription, namespace, name)
        event = trial_event(subscription, self._clock())
        try:
            sink = await self._targets.sink(subscription)
            answer = await sink.send(Envelope.of(event, self._source))
        except (TargetError, DeliveryError) as error:
            return TrialDelivery(event.id, delivered=False, message=str(error))
        return TrialDelivery(event.id, delivered=True, message=answer)

    async def dead_letters(self, namespace: str, name: str) -> Sequence[DeadLetter]:
        """Return what was given up, the oldest first."""
        subscription = await self._store.get(Subscription, namespace, name)
        return await self._dead_letters(subscription)

    async def replay(self, namespace: str, name: str, ids: Collection[str] | None) -> int:
        """Send dead letters (None: all) again, in their old order; return how many.

        A replica that does not lead leaves it to the one that does.
        """
        subscription = await self._store.get(Subscription, namespace, name)
        if self._shared is not None and not self._shared.is_ours:
            letters = [one.envelope.id for one in await self._dead_letters(subscription)]
            wanted = [one for one in letters if ids is None or one in ids]
            await self._ask_leader(subscription, wanted)
            return len(wanted)
        count = self._outbox.replay(subscription.uid, ids)
        self._dispatcher.reopen(subscription.uid)
        return count

    async def _dead_letters(self, subscription: Subscription) -> Sequence[DeadLetter]:
        if self._shared is None or self._shared.is_ours:
            return self._outbox.dead_letters(subscription.uid)
        return await self._shared.dead_letters(subscription.uid)

    async def _ask_leader(self, subscription: Subscription, ids: Sequence[str]) -> None:
        async def decide() -> Subscription:
            found = await self._store.get(Subscription, subscription.namespace, subscription.name)
            replays = tuple(dict.fromkeys((*found.status.replays, *ids)))
            return found.with_status(found.status.model_copy(update={"replays": replays}))

        if ids:
            await update_with_retry(decide, self._store.update_status)
