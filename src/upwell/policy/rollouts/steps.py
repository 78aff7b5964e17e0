"""Rollout steps: what to start, drain and stop so that the wanted revision serves.

Level-triggered: each call looks at what runs now and says what comes next, so that a kill between
any two steps changes nothing in the end. What drains is decided anew by every call; nothing about
it needs to be remembered.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from upwell.policy.rollouts.rollout import HookMoment, Replica, Rollout, RolloutStrategy, Settings

ENDED_STARTS = 3
"""So many starts that ended make a new revision fail without waiting for its deadline."""


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
    """Reason why a revision does not get to serve."""

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
    """Step in which nothing else can be decided before `until`."""

    until: datetime


type Step = StartReplica | Drain | Stop | RunHook | MarkComplete | RollBack | Stall | Wait


@dataclass(frozen=True, slots=True)
class _ReplicaGroups:
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
        if limit is None or target.complete:
            return None
        return max([target.since, *self.well_since]) + limit

    @property
    def well_since(self) -> list[datetime]:
        """Time before which nothing counts; none when the clock went back to before it."""
        since = self.rollout.target.well_since
        return [since] if since is not None and since <= self.now else []

    @property
    def allowed(self) -> int:
        """Number of replicas of the target that may exist yet."""
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
    def looping(self) -> list[Replica]:
        """Replicas of which so many starts have ended that the next one is no better."""
        ended = [one for one in self.staying if one.ended and not one.interrupted]
        return [one for one in ended if one.restarts >= ENDED_STARTS - 1]

    @property
    def missing(self) -> list[int]:
        revision = self.rollout.target.revision
        present = {one.index for one in self.replicas if one.revision == revision}
        return [index for index in range(self.allowed) if index not in present]

    def is_kept(self, replica: Replica) -> bool:
        """Return True if the replica is worth a restart: it stays, or is of the good revision."""
        return self._stays(replica) or (
            not replica.stopping
            and replica.revision == self.rollout.good
            and replica.revision != self.rollout.target.revision
        )

    def _stays(self, replica: Replica) -> bool:
        return (
            not replica.stopping
            and replica.revision == self.rollout.target.revision
            and replica.index < self.settings.replicas
        )


def next_steps(rollout: Rollout, replicas: Sequence[Replica], now: datetime) -> tuple[Step, ...]:
    """Say what comes next; calling again after any part of it was done is always right.

    `Drain` names every replica that shall get no requests; one that is not named does get them.
    """
    groups = _ReplicaGroups(
        _of_aborted(rollout) if rollout.target.aborted else rollout, replicas, now
    )
    rollout = groups.rollout
    failure = _failure(groups)
    if isinstance(failure, RollBack):
        return (failure,)
    if rollout.settings.paused and not rollout.target.complete:
        return (*_restarts(groups, frozenset()), *_waits(groups, frozenset()))
    if HookMoment.PRE in groups.hooks:
        stall = () if failure is None else (failure,)
        return (
            RunHook(HookMoment.PRE),
            *_restarts(groups, frozenset()),
            *stall,
            *_waits(groups, frozenset()),
        )
    victims = _victims(groups)
    names = frozenset(victim.name for victim in victims)
    steps: list[Step] = [
        Drain(victim.name) if victim.ready and not victim.drained else Stop(victim.name)
        for victim in victims
    ]
    steps.extend(_starts(groups))
    steps.extend(_restarts(groups, names))
    if _is_time_for_mid(groups):
        steps.append(RunHook(HookMoment.MID))
    elif _is_complete(groups) and not rollout.target.complete:
        steps.append(
            RunHook(HookMoment.POST) if HookMoment.POST in groups.hooks else MarkComplete()
        )
    if failure is not None:
        steps.append(failure)
    steps.extend(_waits(groups, names))
    return tuple(steps)


def makes_room(rollout: Rollout, replicas: Sequence[Replica], steps: Sequence[Step]) -> int | None:
    """Return the index of a new replica for which one that serves is about to be stopped.

    Whatever the new one needs had better be there first: nothing serves until it starts.
    """
    settings, target = rollout.settings, rollout.target
    if not (settings.exclusive or settings.strategy is RolloutStrategy.RECREATE):
        return None
    leaving = {step.name for step in steps if isinstance(step, Drain | Stop)}
    serving = [
        one
        for one in replicas
        if one.name in leaving
        and one.ready
        and one.revision != target.revision
        and one.index < settings.replicas
    ]
    begun = any(one.revision == target.revision for one in replicas)
    return serving[0].index if serving and not begun else None


def _of_aborted(rollout: Rollout) -> Rollout:
    """Return the rollout of nothing at all: what was given up ends, and is not judged again."""
    target = replace(rollout.target, complete=True, hooks=frozenset())
    return replace(rollout, target=target, settings=replace(rollout.settings, replicas=0))


def _is_complete(groups: _ReplicaGroups) -> bool:
    whole = len(groups.available) == groups.settings.replicas and not groups.leaving
    return whole and not groups.rollout.target.driven


def _is_time_for_mid(groups: _ReplicaGroups) -> bool:
    return (
        HookMoment.MID in groups.hooks
        and groups.settings.strategy is RolloutStrategy.RECREATE
        and not groups.leaving
    )


def _failure(groups: _ReplicaGroups) -> RollBack | Stall | None:
    rollout = groups.rollout
    if rollout.target.complete:
        return _relapse(groups)
    if rollout.settings.paused:
        return None
    kind = Stall if rollout.good is None else RollBack
    if (limit := groups.time_limit) is not None and groups.now >= limit:
        return kind(FailureReason.TOO_LONG, None)
    if looping := groups.looping:
        return kind(FailureReason.CRASH_LOOPING, looping[0])
    late = _deadline(groups)
    if late is None or groups.now < late:
        return None
    unready = [replica for replica in groups.staying if not replica.ready]
    return kind(FailureReason.NEVER_READY, unready[0] if unready else None)


def _relapse(groups: _ReplicaGroups) -> RollBack | None:
    """Return the failure of a complete revision that crashes while it is on probation."""
    until = groups.rollout.target.probation
    for well in groups.well_since:
        if until is not None and until - groups.settings.deadline <= well < until:
            until = well + groups.settings.deadline  # nobody watched for a part of it
    looping = [one for one in groups.looping if until is not None and one.started_at <= until]
    return RollBack(FailureReason.CRASH_LOOPING, looping[0]) if looping else None


def _deadline(groups: _ReplicaGroups) -> datetime | None:
    """Return when the target counts as failed; None when only waiting for old ones is left."""
    ready = [replica for replica in groups.staying if replica.ready]
    target = groups.rollout.target
    if target.complete or len(ready) >= groups.settings.replicas or target.driven:
        return None
    if HookMoment.PRE in groups.hooks or _is_time_for_mid(groups):
        return None  # a hook may take what the active deadline leaves it
    # A restart is no progress: a replica that is restarted for ever would never be late.
    # What the machine lost is made anew through no fault of the revision: it begins anew.
    progress = [one.started_at for one in groups.staying if one.restarts == 0 or one.losses]
    progress += [one.ready_since for one in ready if one.ready_since is not None]
    if target.hooks_ended is not None:
        progress.append(target.hooks_ended)
    return max([target.since, *progress, *groups.well_since]) + groups.settings.deadline


def _victims(groups: _ReplicaGroups) -> list[Replica]:
    match groups.settings.strategy:
        case RolloutStrategy.RECREATE:
            return groups.leaving
        case RolloutStrategy.ORDERED:
            return _ordered_victims(groups)
        case RolloutStrategy.ROLLING:
            return _rolling_victims(groups)


def _rolling_victims(groups: _ReplicaGroups) -> list[Replica]:
    """Choose whom the service can spare, by Kubernetes' arithmetic (deployment/rolling.go)."""
    minimum = groups.settings.minimum
    ready = [replica for replica in groups.leaving if replica.ready]
    spare = len(groups.available) + len(ready) - minimum
    unready = [replica for replica in groups.leaving if not replica.ready]
    useless = [replica for replica in unready if not groups.is_kept(replica)]
    # A good replica that is not ready just now may come back before the new ones get anywhere.
    expected = [replica for replica in unready if groups.is_kept(replica)]
    still_coming = len(groups.staying) - len(groups.available)
    room = len(groups.replicas) - len(useless) - minimum - still_coming
    return [*useless, *expected[: max(room, 0)], *ready[: max(spare, 0)]]


def _ordered_victims(groups: _ReplicaGroups) -> list[Replica]:
    useless = [one for one in groups.leaving if not one.ready and not groups.is_kept(one)]
    if useless:
        return useless
    surplus = [one for one in groups.leaving if one.index >= groups.settings.replicas]
    if surplus:
        return [max(surplus, key=lambda one: one.index)]
    whole = not _unoccupied(groups) and len(groups.available) == len(groups.staying)
    if not whole or not groups.leaving:
        return []
    # One that is not ready goes first: replacing another would leave two of them away.
    return [max(groups.leaving, key=lambda one: (not one.ready, one.index))]


def _unoccupied(groups: _ReplicaGroups) -> list[int]:
    occupied = {replica.index for replica in groups.replicas}
    return [index for index in range(groups.settings.replicas) if index not in occupied]


def _starts(groups: _ReplicaGroups) -> list[StartReplica]:
    settings = groups.settings
    revision = groups.rollout.target.revision
    match settings.strategy:
        case RolloutStrategy.RECREATE:
            indices = [] if groups.leaving or HookMoment.MID in groups.hooks else groups.missing
        case RolloutStrategy.ROLLING:
            room = settings.replicas + settings.max_surge - len(groups.replicas)
            free = groups.missing
            if settings.exclusive:
                free = [index for index in free if index in _unoccupied(groups)]
            indices = free[: max(room, 0)]
        case RolloutStrategy.ORDERED:
            indices = _ordered_starts(groups)
    return [StartReplica(revision, index) for index in indices]


def _ordered_starts(groups: _ReplicaGroups) -> list[int]:
    free = _unoccupied(groups)
    if not free:
        return []
    below = [replica for replica in groups.replicas if replica.index < free[0]]
    waits = any(not one.is_available(groups.settings, groups.now) for one in below)
    return [] if waits else free[:1]


def _restarts(groups: _ReplicaGroups, victims: frozenset[str]) -> list[StartReplica]:
    return [
        StartReplica(replica.revision, replica.index)
        for replica in groups.replicas
        if replica.ended
        and replica.name not in victims
        and groups.is_kept(replica)
        and not (groups.settings.exclusive and _is_replaced(groups, replica))
        and replica.restart_at <= groups.now
    ]


def _is_replaced(groups: _ReplicaGroups, replica: Replica) -> bool:
    """Return True if another replica has the index, and writes the files of it."""
    return any(
        one.index == replica.index
        and one.name != replica.name
        and (not one.ended or one in groups.staying)
        for one in groups.replicas
    )


def _waits(groups: _ReplicaGroups, victims: frozenset[str]) -> list[Wait]:
    kept = [one for one in groups.replicas if one.name not in victims and groups.is_kept(one)]
    times = [replica.restart_at for replica in kept if replica.ended]
    times += [at for one in groups.staying if (at := one.available_at(groups.settings)) is not None]
    late = _deadline(groups)
    if not groups.settings.paused:
        times += [limit for limit in (late, groups.time_limit) if limit is not None]
    ahead = [time for time in times if time > groups.now]
    return [Wait(min(ahead))] if ahead else []
