"""Rollout steps: what to start, drain and stop so that the wanted revision serves.

Level-triggered: each call looks at what runs now and says what comes next, so that a kill between
any two steps changes nothing in the end. What drains is decided anew by every call; nothing about
it needs to be remembered.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

FIRST_BACKOFF = timedelta(seconds=10)
LONGEST_BACKOFF = timedelta(seconds=300)
ENDED_STARTS = 3
"""So many starts that ended make a new revision fail without waiting for its deadline."""


class RolloutStrategy(StrEnum):
    """How the old replicas make room for the new ones."""

    ROLLING = "Rolling"
    RECREATE = "Recreate"
    ORDERED = "Ordered"
    """One index after the other, as a StatefulSet does."""


class HookMoment(StrEnum):
    """When a lifecycle hook runs."""

    PRE = "pre"
    """Before anything else."""
    MID = "mid"
    """When the old replicas are gone; Recreate alone."""
    POST = "post"
    """When all new replicas are ready."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How a workload wants to be rolled out."""

    replicas: int = 1
    strategy: RolloutStrategy = RolloutStrategy.ROLLING
    max_surge: int = 1
    max_unavailable: int = 0
    min_ready: timedelta = timedelta(0)
    deadline: timedelta = timedelta(seconds=600)
    """How long a new revision may make no progress."""
    active_deadline: timedelta | None = None
    """How long a rollout may take, hooks included."""
    paused: bool = False
    drain: timedelta = timedelta(seconds=30)
    """How long a replica that leaves may go on with the requests and connections that it has."""

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
    """When its rollout began."""
    complete: bool
    """Whether it has once served in full: it is then restarted for ever, never rolled back."""
    hooks: frozenset[HookMoment] = frozenset()
    """Hooks that have yet to succeed."""
    hooks_ended: datetime | None = None
    """When the last hook that has run ended: progress."""
    aborted: bool = False
    """It is given up for good, and nothing can take its place: nothing runs."""
    share: float = 1.0
    """How much of it may be rolled out yet, from 0 to 1."""
    driven: bool = False
    """A command of the user's decides the share, and when the rollout is complete."""


@dataclass(frozen=True, slots=True)
class Rollout:
    """What is wanted, and what can be fallen back on."""

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
    """Its start was cut short together with our process: it is taken up again at once."""
    restarts: int = 0
    message: str = ""
    drained: bool = False
    """It gets no new requests, and those that it had are finished or out of time."""

    @property
    def ready(self) -> bool:
        """Whether it can take traffic."""
        return self.ready_since is not None and not self.ended

    @property
    def restart_at(self) -> datetime:
        """When an ended replica may be started again: 10 s after its start, doubling to 300 s."""
        if self.interrupted:
            return self.started_at
        # The exponent is bounded because a timedelta overflows; 1 << 5 is past the longest already.
        return self.started_at + min(FIRST_BACKOFF * (1 << min(self.restarts, 5)), LONGEST_BACKOFF)

    def available_at(self, settings: Settings) -> datetime | None:
        """Return when it has been ready for long enough; None while it is not ready."""
        if self.ready_since is None or self.ended:
            return None
        return self.ready_since + settings.min_ready

    def is_available(self, settings: Settings, now: datetime) -> bool:
        """Whether it has been ready for long enough to be counted on."""
        at = self.available_at(settings)
        return at is not None and at <= now


@dataclass(frozen=True, slots=True)
class StartReplica:
    """Start replica `index` of `revision`, or start it again when it has ended."""

    revision: str
    index: int


@dataclass(frozen=True, slots=True)
class Drain:
    """Send no new requests to the replica."""

    name: str


@dataclass(frozen=True, slots=True)
class Stop:
    """Stop the replica and remove it."""

    name: str


@dataclass(frozen=True, slots=True)
class RunHook:
    """Run the hook, or wait for its end."""

    moment: HookMoment


@dataclass(frozen=True, slots=True)
class MarkComplete:
    """The target serves in full, and nothing else runs."""


class FailureReason(StrEnum):
    """Why a revision does not get to serve."""

    CRASH_LOOPING = "CrashLooping"
    NEVER_READY = "ProgressDeadlineExceeded"
    TOO_LONG = "ActiveDeadlineExceeded"


@dataclass(frozen=True, slots=True)
class RollBack:
    """The target fails: fall back to the good revision."""

    reason: FailureReason
    replica: Replica | None
    """The replica that shows it, if one was started at all."""


@dataclass(frozen=True, slots=True)
class Stall:
    """The target fails and nothing can be fallen back on: it is tried on."""

    reason: FailureReason
    replica: Replica | None


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing else can be decided before `until`."""

    until: datetime


type Step = StartReplica | Drain | Stop | RunHook | MarkComplete | RollBack | Stall | Wait


@dataclass(frozen=True, slots=True)
class _View:
    """The replicas of one rollout, sorted by what becomes of them."""

    rollout: Rollout
    replicas: Sequence[Replica]
    now: datetime

    @property
    def settings(self) -> Settings:
        return self.rollout.settings

    @property
    def hooks(self) -> frozenset[HookMoment]:
        """Hooks that have yet to run; those of what has served in full never run again."""
        target = self.rollout.target
        return frozenset() if target.complete else target.hooks

    @property
    def time_limit(self) -> datetime | None:
        target, limit = self.rollout.target, self.settings.active_deadline
        return None if limit is None or target.complete else target.since + limit

    @property
    def allowed(self) -> int:
        """How many replicas of the target there may be yet."""
        return math.ceil(self.settings.replicas * self.rollout.target.share)

    @property
    def staying(self) -> list[Replica]:
        return [replica for replica in self.replicas if self._stays(replica)]

    @property
    def leaving(self) -> list[Replica]:
        """Replicas to part with, in that order: those of no use first, then the highest index."""
        found = [replica for replica in self.replicas if not self._stays(replica)]
        return sorted(found, key=lambda one: (self.is_kept(one), -one.index, one.name))

    @property
    def available(self) -> list[Replica]:
        return [one for one in self.staying if one.is_available(self.settings, self.now)]

    @property
    def missing(self) -> list[int]:
        present = {replica.index for replica in self.staying}
        return [index for index in range(self.allowed) if index not in present]

    def is_kept(self, replica: Replica) -> bool:
        """Whether the replica is worth a restart: it stays, or is of the good revision."""
        return self._stays(replica) or (
            replica.revision == self.rollout.good
            and replica.revision != self.rollout.target.revision
        )

    def _stays(self, replica: Replica) -> bool:
        return (
            replica.revision == self.rollout.target.revision
            and replica.index < self.settings.replicas
        )


def next_steps(rollout: Rollout, replicas: Sequence[Replica], now: datetime) -> tuple[Step, ...]:
    """Say what comes next; calling again after any part of it was done is always right.

    `Drain` names every replica that shall get no requests; one that is not named does get them.
    """
    view = _View(_of_aborted(rollout) if rollout.target.aborted else rollout, replicas, now)
    rollout = view.rollout
    failure = _failure(view)
    if isinstance(failure, RollBack):
        return (failure,)
    if rollout.settings.paused and not rollout.target.complete:
        return (*_restarts(view, frozenset()), *_waits(view, frozenset()))
    if HookMoment.PRE in view.hooks:
        stall = () if failure is None else (failure,)
        return (
            RunHook(HookMoment.PRE),
            *_restarts(view, frozenset()),
            *stall,
            *_waits(view, frozenset()),
        )
    victims = _victims(view)
    names = frozenset(victim.name for victim in victims)
    steps: list[Step] = [
        Drain(victim.name) if victim.ready and not victim.drained else Stop(victim.name)
        for victim in victims
    ]
    steps.extend(_starts(view))
    steps.extend(_restarts(view, names))
    if _is_time_for_mid(view):
        steps.append(RunHook(HookMoment.MID))
    elif _is_complete(view) and not rollout.target.complete:
        steps.append(RunHook(HookMoment.POST) if HookMoment.POST in view.hooks else MarkComplete())
    if failure is not None:
        steps.append(failure)
    steps.extend(_waits(view, names))
    return tuple(steps)


def _of_aborted(rollout: Rollout) -> Rollout:
    """Return the rollout of nothing at all: what was given up ends, and is not judged again."""
    target = replace(rollout.target, complete=True, hooks=frozenset())
    return replace(rollout, target=target, settings=replace(rollout.settings, replicas=0))


def _is_complete(view: _View) -> bool:
    whole = len(view.available) == view.settings.replicas and not view.leaving
    return whole and not view.rollout.target.driven


def _is_time_for_mid(view: _View) -> bool:
    return (
        HookMoment.MID in view.hooks
        and view.settings.strategy is RolloutStrategy.RECREATE
        and not view.leaving
    )


def _failure(view: _View) -> RollBack | Stall | None:
    rollout = view.rollout
    if rollout.target.complete or rollout.settings.paused:
        return None
    kind = Stall if rollout.good is None else RollBack
    if (limit := view.time_limit) is not None and view.now >= limit:
        return kind(FailureReason.TOO_LONG, None)
    ended = [one for one in view.staying if one.ended and not one.interrupted]
    looping = [one for one in ended if one.restarts >= ENDED_STARTS - 1]
    if looping:
        return kind(FailureReason.CRASH_LOOPING, looping[0])
    late = _deadline(view)
    if late is None or view.now < late:
        return None
    unready = [replica for replica in view.staying if not replica.ready]
    return kind(FailureReason.NEVER_READY, unready[0] if unready else None)


def _deadline(view: _View) -> datetime | None:
    """Return when the target counts as failed; None when only waiting for old ones is left."""
    ready = [replica for replica in view.staying if replica.ready]
    target = view.rollout.target
    if target.complete or len(ready) >= view.settings.replicas or target.driven:
        return None
    if HookMoment.PRE in view.hooks or _is_time_for_mid(view):
        return None  # a hook may take what the active deadline leaves it
    # A restart is no progress: a replica that is restarted for ever would never be late.
    progress = [one.started_at for one in view.staying if one.restarts == 0]
    progress += [one.ready_since for one in ready if one.ready_since is not None]
    if target.hooks_ended is not None:
        progress.append(target.hooks_ended)
    return max([target.since, *progress]) + view.settings.deadline


def _victims(view: _View) -> list[Replica]:
    match view.settings.strategy:
        case RolloutStrategy.RECREATE:
            return view.leaving
        case RolloutStrategy.ORDERED:
            return _ordered_victims(view)
        case RolloutStrategy.ROLLING:
            return _rolling_victims(view)


def _rolling_victims(view: _View) -> list[Replica]:
    """Choose whom the service can spare, by Kubernetes' arithmetic (deployment/rolling.go)."""
    minimum = view.settings.minimum
    ready = [replica for replica in view.leaving if replica.ready]
    spare = len(view.available) + len(ready) - minimum
    unready = [replica for replica in view.leaving if not replica.ready]
    useless = [replica for replica in unready if not view.is_kept(replica)]
    # A good replica that is not ready just now may come back before the new ones get anywhere.
    expected = [replica for replica in unready if view.is_kept(replica)]
    still_coming = len(view.staying) - len(view.available)
    room = len(view.replicas) - len(useless) - minimum - still_coming
    return [*useless, *expected[: max(room, 0)], *ready[: max(spare, 0)]]


def _ordered_victims(view: _View) -> list[Replica]:
    useless = [one for one in view.leaving if not one.ready and not view.is_kept(one)]
    if useless:
        return useless
    surplus = [one for one in view.leaving if one.index >= view.settings.replicas]
    if surplus:
        return [max(surplus, key=lambda one: one.index)]
    whole = not _unoccupied(view) and len(view.available) == len(view.staying)
    if not whole or not view.leaving:
        return []
    # One that is not ready goes first: replacing another would leave two of them away.
    return [max(view.leaving, key=lambda one: (not one.ready, one.index))]


def _unoccupied(view: _View) -> list[int]:
    occupied = {replica.index for replica in view.replicas}
    return [index for index in range(view.settings.replicas) if index not in occupied]


def _starts(view: _View) -> list[StartReplica]:
    settings = view.settings
    revision = view.rollout.target.revision
    match settings.strategy:
        case RolloutStrategy.RECREATE:
            indices = [] if view.leaving or HookMoment.MID in view.hooks else view.missing
        case RolloutStrategy.ROLLING:
            room = settings.replicas + settings.max_surge - len(view.replicas)
            indices = view.missing[: max(room, 0)]
        case RolloutStrategy.ORDERED:
            indices = _ordered_starts(view)
    return [StartReplica(revision, index) for index in indices]


def _ordered_starts(view: _View) -> list[int]:
    free = _unoccupied(view)
    if not free:
        return []
    below = [replica for replica in view.replicas if replica.index < free[0]]
    waits = any(not one.is_available(view.settings, view.now) for one in below)
    return [] if waits else free[:1]


def _restarts(view: _View, victims: frozenset[str]) -> list[StartReplica]:
    return [
        StartReplica(replica.revision, replica.index)
        for replica in view.replicas
        if replica.ended
        and replica.name not in victims
        and view.is_kept(replica)
        and replica.restart_at <= view.now
    ]


def _waits(view: _View, victims: frozenset[str]) -> list[Wait]:
    kept = [one for one in view.replicas if one.name not in victims and view.is_kept(one)]
    times = [replica.restart_at for replica in kept if replica.ended]
    times += [at for one in view.staying if (at := one.available_at(view.settings)) is not None]
    late = _deadline(view)
    if not view.settings.paused:
        times += [limit for limit in (late, view.time_limit) if limit is not None]
    ahead = [time for time in times if time > view.now]
    return [Wait(min(ahead))] if ahead else []
