"""Subscriptions that tell addresses of what becomes of an application or a service."""

from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

from upwell.api.core import Secret
from upwell.api.meta import LocalReference, ObjectMeta, Resource
from upwell.api.subscription import EventFilter, Notice, Subscription, SubscriptionSpec, Webhook

NOTICE_KEY = "urls"


def address_subscriptions(
    name: str, addresses: Sequence[str], subjects: Sequence[str], labels: Mapping[str, str]
) -> list[Resource]:
    """Return the Subscriptions of Apprise URLs and http(s) webhooks, with a Secret of the former.

    `name` begins their names; `subjects` are globs of `NAMESPACE/KIND/NAME`.
    """
    found: list[Resource] = []
    events = EventFilter(subjects=tuple(subjects))
    hooks = [one for one in addresses if urlsplit(one).scheme in {"http", "https"}]
    people = [one for one in addresses if one not in hooks]
    for at, url in enumerate(hooks):
        suffix = f"-{at}" if at else ""
        metadata = ObjectMeta(name=f"{name}-webhook{suffix}", labels=dict(labels))
        spec = SubscriptionSpec(webhook=Webhook(url=url), filter=events)
        found.append(Subscription(metadata=metadata, spec=spec))
    if people:
        metadata = ObjectMeta(name=f"{name}-notice", labels=dict(labels))
        content = Secret.encode_values({NOTICE_KEY: "\n".join(people).encode()})
        found.append(Secret(metadata=metadata, data=content))
        notice = Notice(secret=LocalReference(name=metadata.name))
        spec = SubscriptionSpec(notice=notice, filter=events)
        found.append(Subscription(metadata=metadata, spec=spec))
    return found
