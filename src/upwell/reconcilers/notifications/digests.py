"""Digests: at each time of a schedule, one message of what waits and of what has happened."""

from collections.abc import Callable, Sequence
from datetime import datetime

from upwell.api.subscription import Severity, Subscription, SubscriptionDigest
from upwell.delivery.interface import Envelope, Outbox
from upwell.formats.cloud_events import CloudEvent
from upwell.policy.jobs.cron import around
from upwell.policy.notifications.cloud_events import PREFIX, audience_of, event_id, subject_of
from upwell.policy.notifications.subscriptions import concerns, concerns_pipelines
from upwell.policy.notifications.waiting import KINDS, HeldBack, held_back
from upwell.store.interface import Store

_MOST_LINES = 200
_TYPE = f"{PREFIX}digest"


class Digests:
    """Makes each digest once, also when it is killed in between."""

    def __init__(
        self, store: Store, outbox: Outbox, source: str, clock: Callable[[], datetime]
    ) -> None:
        self._store = store
        self._outbox = outbox
        self._source = source
        self._clock = clock

    async def make(
        self, subscription: Subscription, digest: SubscriptionDigest
    ) -> tuple[datetime | None, datetime | None]:
        """Make the digest that is due, if one is; raises CronError.

        Returns the time up to which digests are made, and the time of the next. Of several that
        were missed, one is made. One that would say nothing is not sent.
        """
        now = self._clock()
        previous, following = around(digest.schedule, digest.time_zone, now)
        last = subscription.status.last_digest or subscription.metadata.creation_timestamp or now
        if last > now:  # under a clock that was ahead: it counts as now
            return now, following
        if previous is None or previous <= last or subscription.spec.suspend:
            return subscription.status.last_digest, following
        waiting = await self._waiting(subscription, now)
        gathered = self._outbox.gathered(subscription.uid)
        if waiting or gathered:
            event = _event(subscription, previous, waiting, gathered)
            self._outbox.digest(subscription.uid, Envelope.of(event, self._source), now)
        return previous, following

    async def _waiting(self, subscription: Subscription, now: datetime) -> list[HeldBack]:
        found = [one for kind in KINDS for one in (await self._store.list(kind)).items]
        seen = [
            one
            for one in found
            if concerns(subscription, audience_of(one))
            and concerns_pipelines(subscription, audience_of(one))
        ]
        return list(held_back(seen, now))


def _event(
    subscription: Subscription,
    time: datetime,
    waiting: Sequence[HeldBack],
    gathered: Sequence[Envelope],
) -> CloudEvent:
    summary = f"{len(waiting)} held back or waiting, {len(gathered)} events"
    lines = [str(one) for one in waiting] + [f"{e.subject}: {e.message}" for e in gathered]
    if len(lines) > _MOST_LINES:
        lines = [*lines[:_MOST_LINES], f"and {len(lines) - _MOST_LINES} more"]
    worst = max(
        [Severity.INFO, *(Severity(one.severity) for one in gathered)], key=list(Severity).index
    )
    return CloudEvent(
        event_id(subscription.uid, _TYPE, time.isoformat()),
        _TYPE,
        subject_of(subscription),
        time,
        worst,
        summary,
        {
            "lines": lines,
            "waiting": [{"subject": one.subject, "why": one.why} for one in waiting[:_MOST_LINES]],
            "events": [
                {"id": one.id, "type": one.type, "subject": one.subject, "message": one.message}
                for one in gathered[:_MOST_LINES]
            ],
        },
    )
