"""Rollout as decisions see it: settings, the wanted revision, and the replicas that run."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

FIRST_BACKOFF = timedelta(seconds=10)
LONGEST_BACKOFF = timedelta(seconds=300)
UNPROBED_MIN_READY = timedelta(seconds=5)
"""Time that an instance without a readiness or startup probe has to stay up before it is available.

Kubernetes calls it ready as soon as its process runs, also when that ends a moment later.
"""


class RolloutStrategy(StrEnum):
    """Strategy by which the old replicas make room for the new ones."""

    ROLLING = "Rolling"
    RECREATE = "Recreate"
    ORDERED = "Ordered"
    """One index after the other, as a StatefulSet does."""


def available_since(ready_since: datetime, min_ready: timedelta, *, probed: bool) -> datetime:
    """Return when what is ready since then can be counted on, if it stays ready."""
    return ready_since + (min_ready if probed else max(min_ready, UNPROBED_MIN_READY))


class HookMoment(StrEnum):
    """Moment at which a lifecycle hook runs."""

    PRE = "pre"
    """Before anything else."""
    MID = "mid"
    """Moment when the old replicas are gone; Recreate alone."""
    POST = "post"
    """Moment when all new replicas are ready."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of a workload's rollout."""

    replicas: int = 1
    strategy: RolloutStrategy = RolloutStrategy.ROLLING
    max_surge: int = 1
    max_unavailable: int = 0
    min_ready: timedelta = timedelta(0)
    deadline: timedelta = timedelta(seconds=600)
    """Time in which a new revision must make progress."""
    active_deadline: timedelta | None = None
    """Time that a rollout may take, hooks included."""
    paused: bool = False
    drain: timedelta = timedelta(seconds=30)
    """Time for which a replica that leaves may go on with its requests and connections."""
    exclusive: bool = False
    """Replicas of one index never run at the same time: they write the same files."""

    @property
    def minimum(self) -> int:
        """Ready replicas that a rollout never goes below."""
        if self.strategy is RolloutStrategy.RECREATE:
            return 0
        return max(self.replicas - self.max_unavailable, 0)


@dataclass(frozen=True, slots=True)
class RolloutTarget:
    """The revision that shall serve."""

    revision: str
    since: datetime
    """Time at which its rollout began."""
    complete: bool
    """True if it has once served in full: it is then restarted for ever."""
    hooks: frozenset[HookMoment] = frozenset()
    """Hooks that have yet to succeed."""
    hooks_ended: datetime | None = None
    """Time at which the last hook that has run ended: progress."""
    aborted: bool = False
    """It is given up for good, and nothing can take its place: nothing runs."""
    share: float = 1.0
    """Share of it that may be rolled out yet, from 0 to 1."""
    probation: datetime | None = None
    """It is complete, but a crash loop that begins before this time still rolls it back."""
    driven: bool = False
    """A command of the user's decides the share, and when the rollout is complete."""
    well_since: datetime | None = None
    """Time since which machine and runtime are well: no time before it is held against it."""


@dataclass(frozen=True, slots=True)
class Rollout:
    """Revision that is wanted, and the one that can be fallen back on."""

    settings: Settings
    target: RolloutTarget
    good: str | None = None
    """The last revision that served in full; the target itself when that is complete."""


@dataclass(frozen=True, slots=True)
class Replica:
    """One instance as the runtime and the router show it."""

    name: str
    index: int
    revision: str
    started_at: datetime
    ready_since: datetime | None = None
    """None while it is not ready."""
    ended: bool = False
    """It does not run: it has ended, or was never started in full."""
    interrupted: bool = False
    """Its start was cut short with our process, or the machine lost it: no fault of its own."""
    probed: bool = True
    """Each of its containers says by a probe when it is ready."""
    losses: int = 0
    """Times in a row that the machine has lost it."""
    of_earlier_process: bool = False
    """This process has not started it: where it has ended, its back-off is over."""
    restarts: int = 0
    message: str = ""
    drained: bool = False
    """It gets no new requests, and those that it had are finished or out of time."""
    stopping: bool = False
    """Its stop has begun, and cannot be taken back: it has its place until it is gone."""

    @property
    def ready(self) -> bool:
        """True if it can take traffic."""
        return self.ready_since is not None and not self.ended and not self.stopping

    @property
    def restart_at(self) -> datetime:
        """Time of the restart of an ended replica: 10 s after its start, doubling to 300 s.

        After a power cut all are started at once.
        """
        if self.of_earlier_process:
            return self.started_at
        if self.interrupted:
            return restart_after_loss(self.started_at, self.losses)
        # The exponent is bounded because a timedelta overflows; 1 << 5 is past the longest already.
        return self.started_at + min(FIRST_BACKOFF * (1 << min(self.restarts, 5)), LONGEST_BACKOFF)

    def available_at(self, settings: Settings) -> datetime | None:
        """Return when it has been ready for long enough; None while it is not ready."""
        if self.ready_since is None or not self.ready:
            return None
        return available_since(self.ready_since, settings.min_ready, probed=self.probed)

    def is_available(self, settings: Settings, now: datetime) -> bool:
        """Return True if it has been ready for long enough to be counted on."""
        at = self.available_at(settings)
        return at is not None and at <= now


def restart_after_loss(started_at: datetime, losses: int) -> datetime:
    """Return when to start anew what the machine lost: at once, and in a row more and more rarely.

    One that had run for long when it was lost has waited enough.
    """
    if losses <= 1:
        return started_at
    # The exponent is bounded because a timedelta overflows.
    return started_at + min(FIRST_BACKOFF * (1 << min(losses - 2, 5)), LONGEST_BACKOFF)
