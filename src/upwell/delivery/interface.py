"""The ports: an outbox that keeps events to be sent, and sinks that send them."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import ClassVar, Protocol

from upwell.formats.cloud_events import CONTENT_TYPE, CloudEvent

SETTLED_LETTERS = 16
"""Of an id, enough to tell it from all others: 64 bits."""
SETTLED_PERIOD = 12 * 3600
"""Seconds. Number N of a period begins at N of them since the epoch."""


def period_of(seconds: float) -> int:
    """Return the number of the period that a time lies in, in seconds since the epoch."""
    return int(seconds // SETTLED_PERIOD)


class OutboxError(Exception):
    """The outbox cannot be read or written now."""

    reason: ClassVar[str] = "OutboxFailed"
    retryable: ClassVar[bool] = True


class Fate(StrEnum):
    """Outcome of the decision about an event at a Subscription; made once."""

    SEND = "waiting"
    GATHER = "gathered"
    """For the next digest."""
    SKIP = "skipped"
    """Its filter does not want it, nor will it if the filter is changed later."""


DEAD = "dead"
"""State of an event whose delivery was given up."""


class DeliveryError(Exception):
    """A receiver did not take an event; the message says why, without secrets.

    `permanent`: it would refuse it again. `retry_after`: the pause that it asks for, in seconds.
    `reached`: names of those of several receivers that have it.
    """

    def __init__(
        self,
        message: str,
        *,
        permanent: bool = False,
        retry_after: float | None = None,
        reached: frozenset[str] = frozenset(),
    ) -> None:
        super().__init__(message)
        self.permanent = permanent
        self.retry_after = retry_after
        self.reached = reached


@dataclass(frozen=True, slots=True)
class Envelope:
    """An event as it is kept and sent: the body never changes between tries."""

    id: str
    type: str
    subject: str
    severity: str
    message: str
    body: bytes
    """The CloudEvent in its JSON form."""

    @classmethod
    def of(cls, event: CloudEvent, source: str) -> "Envelope":
        """Return the event as the server at the URL `source` tells it."""
        return cls(
            event.id,
            event.type,
            event.subject,
            event.severity.value,
            event.message,
            event.encode(source),
        )


@dataclass(frozen=True, slots=True)
class Delivery:
    """The earliest event of a subject that waits for its delivery to a Subscription."""

    number: int
    """Counts what came into the outbox: the order of delivery."""
    subscription: str
    """The Subscription's uid."""
    envelope: Envelope
    due: datetime
    attempts: int = 0
    """Tries that failed."""
    reached: frozenset[str] = frozenset()
    """Those of several receivers that have it already."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An event whose delivery was given up."""

    envelope: Envelope
    died: datetime
    attempts: int
    error: str


@dataclass(frozen=True, slots=True)
class DeliveryStats:
    """Numbers and times of a Subscription's deliveries."""

    delivered: int = 0
    pending: int = 0
    gathered: int = 0
    """Events that wait for the next digest."""
    dead: int = 0
    last_delivery: datetime | None = None
    trouble: str = ""
    """Reason why the earliest delivery that has failed waits."""


@dataclass(frozen=True, slots=True)
class UnsettledEvent:
    """An event that an outbox still has to do with: it waits, for a digest too, or is dead."""

    number: int
    subscription: str
    """The Subscription's uid."""
    envelope: Envelope
    state: str
    """That of a Fate, or DEAD."""
    due: float
    """Seconds since the epoch."""
    attempts: int
    reached: tuple[str, ...]
    error: str
    settled: float | None
    """Seconds since the epoch at which it died; None: it has not."""


@dataclass(frozen=True, slots=True)
class DeliveryTally:
    """Deliveries of one Subscription that succeeded."""

    subscription: str
    delivered: int
    last: float
    """Seconds since the epoch."""


@dataclass(frozen=True, slots=True)
class OutboxContents:
    """Contents of an outbox with which another one goes on in its place."""

    events: Sequence[UnsettledEvent] = ()
    tallies: Sequence[DeliveryTally] = ()
    settled: Mapping[int, Collection[str]] = field(default_factory=dict)
    """Beginnings (SETTLED_LETTERS) of the ids of events that were settled, by their period
    (SETTLED_PERIOD): such an event is not new to any Subscription."""


class Outbox(Protocol):
    """Keeps events for each Subscription (by its uid); every method raises OutboxError.

    An event is kept once for a Subscription, whatever became of it: adding it again changes
    nothing. Events of one subject leave in the order in which they came.
    """

    def add(self, subscription: str, events: Sequence[tuple[Envelope, Fate]], now: datetime) -> int:
        """Keep all events or none; return how many were new and are to be sent."""
        ...

    def next_due(self, subscription: str, limit: int) -> Sequence[Delivery]:
        """Return the earliest waiting delivery of each subject, the first due first."""
        ...

    def delivered(self, delivery: Delivery, now: datetime) -> None:
        """Settle a delivery."""
        ...

    def postpone(
        self, delivery: Delivery, until: datetime, error: str, reached: Collection[str]
    ) -> None:
        """Count a failed try, and wait."""
        ...

    def dead_letter(self, delivery: Delivery, now: datetime, error: str) -> None:
        """Give a delivery up: later events of its subject go on."""
        ...

    def retry_now(self, subscription: str) -> None:
        """Make everything that waits due now."""
        ...

    def stats(self, subscription: str) -> DeliveryStats:
        """Say how a Subscription stands."""
        ...

    def dead_letters(self, subscription: str) -> Sequence[DeadLetter]:
        """Return what was given up, in the order in which it came."""
        ...

    def replay(self, subscription: str, ids: Collection[str] | None) -> int:
        """Let dead letters (None: all) wait again, in their old order; return how many."""
        ...

    def gathered(self, subscription: str) -> Sequence[Envelope]:
        """Return the events that wait for a digest."""
        ...

    def digest(self, subscription: str, digest: Envelope, now: datetime) -> bool:
        """Put a digest in the place of what was gathered; False when it was made before."""
        ...

    def release(self, subscription: str) -> None:
        """Let what was gathered wait for delivery one by one: no digest is wanted any more."""
        ...

    def subscriptions(self) -> Collection[str]:
        """Return the uids of all Subscriptions for which something is kept."""
        ...

    def forget(self, subscription: str) -> None:
        """Remove all that is kept for a Subscription."""
        ...

    def remove_old(self, settled_before: datetime, dead_before: datetime) -> None:
        """Remove what was settled, and what died, before these times."""
        ...

    @property
    def changes(self) -> int:
        """Number that is another one after each change of what is kept."""
        ...

    def contents(self, periods: Collection[int]) -> OutboxContents:
        """Return what is kept; of what was settled, these periods. May be called in a thread."""
        ...

    async def replace(self, contents: OutboxContents) -> None:
        """Keep this, and nothing of what was kept before. Nothing else may change it meanwhile."""
        ...


class Sink(Protocol):
    """One way to tell events to one Subscription's receivers."""

    async def send(self, envelope: Envelope, reached: frozenset[str] = frozenset()) -> str:
        """Send an event to those who are not in `reached`; return their answer, for people.

        Raises DeliveryError.
        """
        ...


@dataclass(frozen=True, slots=True)
class WebhookTarget:
    """Address to which CloudEvents are POSTed."""

    url: str
    secret: bytes = field(default=b"", repr=False)
    """Signs the body; empty: it is not signed."""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    content_type: str = CONTENT_TYPE


class InvalidTargetError(ValueError):
    """Error in the settings of a target; the message says what to change."""


class WebhookSinks(Protocol):
    """Makes sinks that POST."""

    def webhook(self, target: WebhookTarget) -> Sink:
        """Return the sink of a target; raises InvalidTargetError."""
        ...


class NoticeSinks(Protocol):
    """Makes sinks that write to people."""

    def notice(self, urls: Sequence[str]) -> Sink:
        """Return the sink of Apprise URLs; raises InvalidTargetError."""
        ...
