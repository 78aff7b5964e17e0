"""Events that a Subscription is sent, and their time; pure."""

from dataclasses import replace
from datetime import datetime, timedelta
from fnmatch import fnmatchcase

from upwell.api.subscription import Subscription
from upwell.delivery.interface import Fate
from upwell.formats.cloud_events import CloudEvent
from upwell.policy.notifications.cloud_events import Audience

_JUST_NOW = timedelta(minutes=5)
NEWS_FOR = timedelta(days=3)
"""Age at which an event that is first seen is not sent any more."""
KEPT_FOR = timedelta(days=7)
"""Time for which a sent event is remembered: longer than it may be derived anew."""
DEAD_FOR = timedelta(days=30)
"""Time for which dead letters are kept."""


def concerns(subscription: Subscription, audience: Audience) -> bool:
    """Return True if a Subscription may receive events about an object at all."""
    if subscription.sees_all or audience.namespaces is None:
        return True
    return subscription.namespace in audience.namespaces


def concerns_pipelines(subscription: Subscription, audience: Audience) -> bool:
    """Return True if an object is of the Pipelines that a Subscription names, or it names none."""
    wanted = subscription.spec.filter.pipelines
    if not wanted or audience.pipelines is None:
        return True
    return not audience.pipelines.isdisjoint(wanted)


def is_news(subscription: Subscription, event: CloudEvent, now: datetime) -> bool:
    """Return True if the event happened since the Subscription was made, and not too long ago."""
    since = subscription.metadata.creation_timestamp
    if since is not None and since > now:  # under a clock that was ahead
        since = now - _JUST_NOW
    return since is not None and event.time >= max(since, now - NEWS_FOR)


def fate_of(subscription: Subscription, audience: Audience, event: CloudEvent) -> Fate:
    """Decide about an event that concerns the Subscription: of two that tell the same, one."""
    if not _wants(subscription, audience, event):
        return Fate.SKIP
    if event.told_by and _wants(subscription, audience, replace(event, type=event.told_by)):
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
