"""Which events a Subscription is told, and when; pure."""

from datetime import datetime, timedelta
from fnmatch import fnmatchcase

from upwell.api.subscription import Subscription
from upwell.delivery.interface import Fate
from upwell.formats.cloud_events import CloudEvent
from upwell.policy.notifications.cloud_events import Audience

TOLD_FOR = timedelta(days=3)
"""An event that is older when it is first seen is not told any more."""
KEPT_FOR = timedelta(days=7)
"""How long it is remembered that an event was told: longer than it may be derived anew."""
DEAD_FOR = timedelta(days=30)
"""How long dead letters are kept."""


def concerns(subscription: Subscription, audience: Audience) -> bool:
    """Whether a Subscription may hear of an object at all."""
    if subscription.sees_all or audience.namespaces is None:
        return True
    return subscription.namespace in audience.namespaces


def concerns_pipelines(subscription: Subscription, audience: Audience) -> bool:
    """Whether an object belongs to the Pipelines that a Subscription names, if it names any."""
    wanted = subscription.spec.filter.pipelines
    if not wanted or audience.pipelines is None:
        return True
    return not audience.pipelines.isdisjoint(wanted)


def is_news(subscription: Subscription, event: CloudEvent, now: datetime) -> bool:
    """Whether the event happened since the Subscription was made, and not too long ago."""
    since = subscription.metadata.creation_timestamp
    return since is not None and event.time >= max(since, now - TOLD_FOR)


def fate_of(subscription: Subscription, audience: Audience, event: CloudEvent) -> Fate:
    """Decide about an event that concerns the Subscription."""
    if not _wants(subscription, audience, event):
        return Fate.SKIP
    return Fate.SEND if subscription.spec.digest is None else Fate.GATHER


def _wants(subscription: Subscription, audience: Audience, event: CloudEvent) -> bool:
    wanted = subscription.spec.filter
    return (
        _matches(event.type, wanted.types)
        and _matches(event.subject, wanted.subjects)
        and (not wanted.severities or event.severity in wanted.severities)
        and concerns_pipelines(subscription, audience)
    )


def _matches(text: str, globs: tuple[str, ...]) -> bool:
    return not globs or any(fnmatchcase(text, glob) for glob in globs)
