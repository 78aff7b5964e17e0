"""Backlog of builds: how many wait for a slot, and how long all of them will take."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from heapq import nlargest
from statistics import median

from upwell.api.build import BUILD_CONFIG_LABEL, Build, BuildPhase, RunPolicy
from upwell.policy.builds.failures import waits_for_retry
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
        longest = max(longest, *left, _in_a_row(queued, left), timedelta())
    is_known = usual is not None or not waiting + running
    remaining = max(whole / max(1, running), longest) if is_known else None
    return Backlog(waiting, running, remaining, guessed)


def _in_a_row(queued: Sequence[Build], left: Sequence[timedelta]) -> timedelta:
    """Return how long a BuildConfig's builds take, if one begins when the other has ended.

    Those that belong to none wait for nobody.
    """
    serial = all(
        BUILD_CONFIG_LABEL in build.labels and policy_of(build) is not RunPolicy.PARALLEL
        for build in queued
    )
    return sum(left, timedelta()) if serial else timedelta()


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
