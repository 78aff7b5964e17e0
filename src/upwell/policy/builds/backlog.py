"""Backlog of builds: how many wait for a slot, and how long each and all of them will take."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from heapq import heappop, heappush, nlargest
from statistics import median

from upwell.api.builds.build import BUILD_CONFIG_LABEL, Build, BuildPhase
from upwell.api.builds.config import BuildConfig, RunPolicy
from upwell.api.meta import ObjectKey
from upwell.policy.builds.failures import waits_for_retry
from upwell.policy.builds.fairness import FairQueue, QueuedBuild
from upwell.policy.builds.run_policy import number_of, policy_of

_RECENT = 5
"""Builds of a BuildConfig that tell how long the next one takes."""
_TURN = frozenset({None, "", "NoFreeSlot", "RunPolicy"})
"""Reasons of builds that lack nothing but their turn."""
_ACTIVE = frozenset({BuildPhase.PENDING, BuildPhase.RUNNING})


@dataclass(frozen=True, slots=True)
class Backlog:
    """Builds that wait for their turn, and those that run meanwhile."""

    waiting: int
    running: int
    remaining: timedelta | None
    """Estimated time until all have ended; None: no build has ended yet that tells it."""
    guessed: int = 0
    """Those that wait whose BuildConfig has built nothing yet: others tell how long they take."""


def backlog_of(configs: Iterable[Sequence[Build]], now: datetime) -> Backlog:
    """Return the backlog of the builds, which are given by BuildConfig.

    The estimate takes for each build the median of its BuildConfig's last five, or of all that
    have ended; as many run at a time as do now. What a BuildConfig builds one after the other
    takes at least their sum. Builds that have to be tried again, that wait for an input or for
    a build above them are left out.
    """
    groups = [(list(builds), list(lengths_of(builds))) for builds in configs]
    usual = median_of(length for _, lengths in groups for length in lengths)
    waiting = running = guessed = 0
    whole = longest = timedelta()
    for builds, lengths in groups:
        queued = [build for build in builds if _waits(build)]
        started = [build for build in builds if build.status.phase in _ACTIVE]
        waiting += len(queued)
        running += len(started)
        own = median_of(lengths)
        guessed += len(queued) if own is None else 0
        expected = own or usual or timedelta()
        left = [max(expected - _elapsed(build, now), timedelta()) for build in started]
        left += [expected] * len(queued)
        whole += sum(left, timedelta())
        in_a_row = sum(left, timedelta()) if _is_serial(queued) else timedelta()
        longest = max(longest, *left, in_a_row, timedelta())
    is_known = usual is not None or not waiting + running
    remaining = max(whole / max(1, running), longest) if is_known else None
    return Backlog(waiting, running, remaining, guessed)


@dataclass(frozen=True, slots=True)
class BuildTurn:
    """Turn of a build that waits, if nothing else comes."""

    place: int
    """1 for the one that begins next."""
    begins: timedelta | None
    """Estimated time until then; None: no build has ended yet that tells it."""


type Urgency = Callable[[Build], tuple[int, int]]
"""Severity of what a build builds on, and that which its own namespace gives it."""


def no_urgency(build: Build) -> tuple[int, int]:
    """Return the urgency of builds where nobody has said any."""
    del build
    return 0, 0


def turns_of(
    configs: Iterable[Sequence[Build]],
    now: datetime,
    dependents: Callable[[ObjectKey], int],
    urgency: Urgency = no_urgency,
) -> Mapping[ObjectKey, BuildTurn]:
    """Return the turns of all builds that wait for nothing else.

    As the slots are given out (`FairQueue`), as many at a time as run now, each for as long as
    `backlog_of` takes it to last. `dependents` says how much stands on a BuildConfig. Who had a
    slot before is not in any build: so places within a namespace may differ by that.
    """
    groups = [(list(builds), list(lengths_of(builds))) for builds in configs]
    usual = median_of(length for _, lengths in groups for length in lengths)
    slots = _Slots(now, urgency)
    for builds, lengths in groups:
        slots.add(builds, median_of(lengths) or usual or timedelta(), dependents)
    order = enumerate(slots.given(), 1)
    return {
        key: BuildTurn(place, begins if usual is not None else None)
        for place, (key, begins) in order
    }


class _Slots:
    """The build slots as they would be given out from now on."""

    def __init__(self, now: datetime, urgency: Urgency) -> None:
        self._now = now
        self._urgency = urgency
        self._queue = FairQueue()
        self._lengths: dict[ObjectKey, timedelta] = {}
        self._later: dict[ObjectKey, deque[QueuedBuild]] = {}
        """Builds that wait for one of their BuildConfig to end."""
        self._ends: list[tuple[timedelta, int, QueuedBuild]] = []
        """Heap of those that run, by when they will have ended."""
        self._sequence = 0

    def add(
        self, builds: Sequence[Build], length: timedelta, dependents: Callable[[ObjectKey], int]
    ) -> None:
        """Take in the builds of one BuildConfig, each of which lasts for `length`."""
        started = [build for build in builds if build.status.phase in _ACTIVE]
        queued = sorted((build for build in builds if _waits(build)), key=number_of)
        for build in started:
            self._start(
                self._entry(build, 0), max(length - _elapsed(build, self._now), timedelta())
            )
        if not queued:
            return
        weight = dependents(_config_of(queued[0]))
        entries = deque(self._entry(build, weight) for build in queued)
        self._lengths |= dict.fromkeys((one.key for one in entries), length)
        if _is_serial(queued):
            self._later[entries[0].config] = entries
            if not started:
                self._queue.add(entries.popleft())
        else:
            for one in entries:
                self._queue.add(one)

    def given(self) -> Iterator[tuple[ObjectKey, timedelta]]:
        """Yield the builds that wait in their order, each with the time until it begins."""
        number, time = max(1, len(self._ends)), timedelta()
        while True:
            while len(self._ends) < number and (key := self._queue.first()) is not None:
                yield key, time
                self._start(self._queue.queued(key), time + self._lengths[key])
            if not self._ends:
                return
            time, _, ended = heappop(self._ends)
            self._queue.finish(ended.key)
            if following := self._later.get(ended.config):
                self._queue.add(following.popleft())

    def _start(self, one: QueuedBuild, end: timedelta) -> None:
        self._queue.start(one)
        self._sequence += 1
        heappush(self._ends, (end, self._sequence, one))

    def _entry(self, build: Build, dependents: int) -> QueuedBuild:
        since = build.metadata.creation_timestamp or self._now
        urgency, own = self._urgency(build)
        return QueuedBuild(
            build.key, _config_of(build), since, number_of(build), dependents, urgency, own
        )


def _config_of(build: Build) -> ObjectKey:
    """Return the BuildConfig of a build; one without has a share of its own."""
    name = build.labels.get(BUILD_CONFIG_LABEL)
    if name is None:
        return build.key
    return ObjectKey(BuildConfig.KIND.kind, build.namespace, name)


def _is_serial(queued: Sequence[Build]) -> bool:
    """Return True if a BuildConfig's builds begin one when the other has ended.

    Those that belong to none wait for nobody.
    """
    return all(
        BUILD_CONFIG_LABEL in build.labels and policy_of(build) is not RunPolicy.PARALLEL
        for build in queued
    )


def _waits(build: Build) -> bool:
    status = build.status
    return (
        status.phase is BuildPhase.NEW
        and not status.cancelled
        and not waits_for_retry(build)
        and status.reason in _TURN
    )


def lengths_of(builds: Sequence[Build]) -> Iterator[timedelta]:
    """Yield how long the last builds took, of those that made an image."""
    ended = [build for build in builds if build.status.phase is BuildPhase.COMPLETE]
    for build in nlargest(_RECENT, ended, key=number_of):
        status = build.status
        if status.start_timestamp is not None and status.completion_timestamp is not None:
            yield max(status.completion_timestamp - status.start_timestamp, timedelta())


def _elapsed(build: Build, now: datetime) -> timedelta:
    began = build.status.start_timestamp
    return now - began if began is not None else timedelta()


def median_of(lengths: Iterable[timedelta]) -> timedelta | None:
    """Return the median; None of nothing."""
    seconds = [length.total_seconds() for length in lengths]
    return timedelta(seconds=median(seconds)) if seconds else None
