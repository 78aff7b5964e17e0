"""What people ask of a Subscription: a test, its dead letters, and to send those again."""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from upwell.api.meta import format_time
from upwell.api.subscription import Severity, Subscription
from upwell.delivery.interface import DeadLetter, DeliveryError, Envelope, Outbox
from upwell.formats.cloud_events import CloudEvent
from upwell.policy.notifications.cloud_events import PREFIX, event_id, subject_of
from upwell.reconcilers.notifications.dispatcher import Dispatcher
from upwell.reconcilers.notifications.targets import TargetError, Targets
from upwell.store.interface import Store

TEST_TYPE = f"{PREFIX}test"


class SubscriptionRequests:
    """Answers with JSON data; each method raises NotFoundError."""

    def __init__(
        self,
        store: Store,
        outbox: Outbox,
        targets: Targets,
        courier: Dispatcher,
        source: str,
        clock: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._outbox = outbox
        self._targets = targets
        self._courier = courier
        self._source = source
        self._clock = clock

    async def test(self, namespace: str, name: str) -> Mapping[str, Any]:
        """Send a `dev.upwell.test` now, past the outbox, and say what came back."""
        subscription = await self._store.get(Subscription, namespace, name)
        now = self._clock()
        event = CloudEvent(
            event_id(subscription.uid, TEST_TYPE, now.isoformat()),
            TEST_TYPE,
            subject_of(subscription),
            now,
            Severity.INFO,
            f"a test of subscription {name} in namespace {namespace}",
        )
        try:
            sink = await self._targets.sink(subscription)
            answer = await sink.send(Envelope.of(event, self._source))
        except (TargetError, DeliveryError) as error:
            return {"id": event.id, "delivered": False, "message": str(error)}
        return {"id": event.id, "delivered": True, "message": answer}

    async def dead_letters(self, namespace: str, name: str) -> Sequence[Mapping[str, Any]]:
        """Return what was given up, the oldest first, with each event as it would be sent."""
        subscription = await self._store.get(Subscription, namespace, name)
        return [_document(letter) for letter in self._outbox.dead_letters(subscription.uid)]

    async def replay(self, namespace: str, name: str, ids: Collection[str] | None) -> int:
        """Send dead letters (None: all) again, in their old order; return how many."""
        subscription = await self._store.get(Subscription, namespace, name)
        count = self._outbox.replay(subscription.uid, ids)
        self._courier.reopen(subscription.uid)
        return count


def _document(letter: DeadLetter) -> Mapping[str, Any]:
    envelope = letter.envelope
    return {
        "id": envelope.id,
        "type": envelope.type,
        "subject": envelope.subject,
        "message": envelope.message,
        "died": format_time(letter.died),
        "attempts": letter.attempts,
        "error": letter.error,
        "event": json.loads(envelope.body),
    }
