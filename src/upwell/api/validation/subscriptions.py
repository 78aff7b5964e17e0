"""Rules of a Subscription beyond its types."""

from collections.abc import Iterator
from urllib.parse import urlsplit

from upwell.api.subscription import ALL_NAMESPACES, Subscription, SubscriptionDigest
from upwell.api.values.addresses import is_metadata_address
from upwell.api.values.faults import Fault
from upwell.api.values.schedules import (
    InvalidScheduleError,
    UnknownTimeZoneError,
    check_schedule,
    parse_zone,
)


def validate_subscription(subscription: Subscription) -> Iterator[Fault]:
    """Yield every fault."""
    spec = subscription.spec
    if (spec.webhook is None) == (spec.notice is None):
        yield Fault("spec", "set one of webhook and notice")
    if spec.webhook is not None:
        yield from _url(spec.webhook.url, "spec.webhook.url")
        for name, reference in (("secret", spec.webhook.secret), ("headers", spec.webhook.headers)):
            if reference is not None and not reference.name:
                yield Fault(f"spec.webhook.{name}.name", "required: a Secret of this namespace")
    if spec.notice is not None and not spec.notice.secret.name:
        yield Fault("spec.notice.secret.name", "required: a Secret of this namespace")
    if spec.digest is not None:
        yield from _digest(spec.digest)
    if spec.namespaces not in {(), (ALL_NAMESPACES,)}:
        yield Fault("spec.namespaces", f'leave it out, or set ["{ALL_NAMESPACES}"]')


def _digest(digest: SubscriptionDigest) -> Iterator[Fault]:
    try:
        check_schedule(digest.schedule)
    except InvalidScheduleError as error:
        yield Fault("spec.digest.schedule", str(error))
    try:
        parse_zone(digest.time_zone)
    except UnknownTimeZoneError as error:
        yield Fault("spec.digest.timeZone", str(error))


def _url(text: str, path: str) -> Iterator[Fault]:
    try:
        url = urlsplit(text)
        host = url.hostname
        url.port  # noqa: B018 - reading it checks it
    except ValueError as error:
        yield Fault(path, f"not a URL: {error}")
        return
    if url.scheme not in {"http", "https"} or not host:
        yield Fault(path, "expected http://HOST/… or https://HOST/…")
        return
    if "@" in url.netloc:
        yield Fault(path, "a URL is not secret: put credentials into a Secret, under headers")
    if is_metadata_address(host):
        yield Fault(path, f"{host} is link-local: requests to it are refused")
