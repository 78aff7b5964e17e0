"""upwell.dev/v1alpha1: Subscriptions to events, their targets and their status."""

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from upwell.api.meta import (
    Column,
    ColumnType,
    Condition,
    Kind,
    LocalReference,
    Model,
    Resource,
    Time,
)
from upwell.api.pipeline import GROUP
from upwell.api.write_only.fields import UrlCredentials

ALL_NAMESPACES = "*"
"""In `spec.namespaces`: the events of every namespace, and of what lies in none."""


class ContentType(StrEnum):
    """Content type of a webhook's body; its bytes are the same."""

    CLOUD_EVENTS = "application/cloudevents+json"
    JSON = "application/json"
    """For receivers that take nothing else, such as GitLab's and Jenkins'."""


class Webhook(Model):
    """Each event is a POST of a CloudEvent (CloudEvents 1.0, structured JSON)."""

    url: Annotated[str, UrlCredentials()]
    """http or https; without credentials, which belong into `headers`."""
    secret: LocalReference | None = None
    """A Secret whose key `secret` signs the body: X-Upwell-Signature."""
    headers: LocalReference | None = None
    """A Secret each of whose keys is the name of a header to send."""
    content_type: ContentType = ContentType.CLOUD_EVENTS


class Notice(Model):
    """Each event is a message for people, sent by Apprise."""

    secret: LocalReference = Field(default_factory=LocalReference)
    """A Secret whose key `urls` holds Apprise URLs, one a line."""


class Severity(StrEnum):
    """Severity of an event for people."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class EventFilter(Model):
    """Filter of events; an empty part matches all."""

    types: tuple[str, ...] = ()
    """Globs of event types: `dev.upwell.promotion.*`."""
    subjects: tuple[str, ...] = ()
    """Globs of subjects: `shop/ImageStream/python`."""
    pipelines: tuple[str, ...] = ()
    """Names; events that belong to no Pipeline do not match."""
    severities: tuple[Severity, ...] = ()


class SubscriptionDigest(Model):
    """One message at each of these times, instead of one for each event."""

    schedule: str
    """Cron expression."""
    time_zone: str = "UTC"


class Retries(Model):
    """Number of tries of a delivery that fails: after 1, 2, 4, … seconds, for about ten hours."""

    attempts: int = Field(default=30, ge=1, le=1000)
    longest_seconds: int = Field(default=1800, ge=1, le=86_400)
    """The longest pause; a receiver's Retry-After may ask for more."""


class SubscriptionSpec(Model):
    """Target, events and times of deliveries; exactly one of `webhook` and `notice` is set."""

    webhook: Webhook | None = None
    notice: Notice | None = None
    filter: EventFilter = Field(default_factory=EventFilter)
    namespaces: tuple[str, ...] = ()
    """Empty: the Subscription's own. `["*"]`: all, which an admin of everything may write."""
    suspend: bool = False
    """Suspension of deliveries: what happens meanwhile is kept and sent afterwards."""
    digest: SubscriptionDigest | None = None
    retries: Retries = Field(default_factory=Retries)


class SubscriptionStatus(Model):
    """Status of a Subscription."""

    observed_generation: int | None = None
    conditions: tuple[Condition, ...] = ()
    delivered: int = 0
    """Since it was made."""
    pending: int = 0
    dead_letters: int = 0
    last_delivery: Time | None = None
    last_digest: Time | None = None
    """The time of the schedule up to which digests were made."""
    replays: tuple[str, ...] = ()
    """Ids of dead letters that a replica was asked to send again, which its leader has not yet."""


class Subscription(Resource):
    """Sends the events of a namespace to others, from its creation on."""

    KIND: ClassVar[Kind] = Kind(
        GROUP,
        "v1alpha1",
        "Subscription",
        "subscriptions",
        ("sub",),
        columns=(
            Column("READY", "status.conditions[*].status"),
            Column("DELIVERED", "status.delivered", ColumnType.INTEGER),
            Column("PENDING", "status.pending", ColumnType.INTEGER),
            Column("DEAD", "status.deadLetters", ColumnType.INTEGER),
            Column("LAST", "status.lastDelivery", ColumnType.DATE),
            Column("URL", "spec.webhook.url", wide=True),
        ),
    )

    spec: SubscriptionSpec = Field(default_factory=SubscriptionSpec)
    status: SubscriptionStatus = Field(default_factory=SubscriptionStatus)

    @property
    def sees_all(self) -> bool:
        """True if it receives events of other namespaces too."""
        return ALL_NAMESPACES in self.spec.namespaces
