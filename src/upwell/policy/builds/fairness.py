"""Fair shares of the build slots: among namespaces first, then among the BuildConfigs of each."""

from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass, replace
from datetime import datetime
from heapq import heapify, heappop, heappush
from typing import NamedTuple

from upwell.api.meta import ObjectKey

_SLACK = 64
"""Outdated entries that a heap may have, beside as many as it has others."""

_WINDOW_SECONDS = 600
"""Builds that came so close together go by what stands on them; before them is who came earlier."""

type _Share = str | ObjectKey
"""Holder of a share: a namespace, or a BuildConfig."""


@dataclass(frozen=True, slots=True)
class QueuedBuild:
    """A build that lacks nothing but a slot."""

    key: ObjectKey
    config: ObjectKey
    since: datetime
    number: int = 0
    dependents: int = 0
    """BuildConfigs and workloads that stand on its result."""
    urgency: int = 0
    """Severity of the change that it builds on; higher goes first."""
    own_urgency: int = 0
    """Severity that its namespace gives it, which counts there alone."""
    registry: str = ""
    """Registry outside that it pushes to; empty: none."""


class _Rank(NamedTuple):
    """Rank of a namespace or a BuildConfig; the lowest is next."""

    running: int
    turn: int
    """Number of the start with which it had a slot last; 0: it had none."""
    urgency: int
    """Severity of the change, negated: the most urgent is first."""
    window: int
    """Number of the time in which the build began to wait."""
    weight: int
    """The dependents, negated: that on which most stands is first."""
    since: datetime
    number: int


class FairQueue:
    """Builds that wait for a slot, and those that have one.

    The next build is one of the namespace with the fewest running ones; among equals, of that
    which had a slot longest ago; among those that had none, of that with the most urgent change,
    then of that which has waited longest, and of builds that came within ten minutes of that on
    which most stands. The same decides among the
    BuildConfigs of the namespace; of one BuildConfig the oldest is next. So nobody waits because
    somebody else has many builds, or many namespaces with ever new ones, and after a change of a
    base image the longest chains begin first. A call costs the same, but for a logarithm, however
    many wait.
    """

    def __init__(self, most_of_namespace: int | None = None) -> None:
        """A namespace has no turn while `most_of_namespace` of its builds have slots."""
        self._most_of_namespace = most_of_namespace
        self._queued: dict[ObjectKey, QueuedBuild] = {}
        self._started: dict[ObjectKey, QueuedBuild] = {}
        self._builds: dict[ObjectKey, _Ranking[ObjectKey, tuple[datetime, int]]] = {}
        self._configs: dict[str, _Ranking[ObjectKey, _Rank]] = {}
        self._namespaces: _Ranking[str, _Rank] = _Ranking()
        self._running: Counter[_Share] = Counter()
        self._turns: dict[_Share, int] = {}
        self._turn = 0

    def __len__(self) -> int:
        return len(self._queued)

    def __contains__(self, key: object) -> bool:
        return key in self._queued

    def waiting(self) -> list[ObjectKey]:
        """Return the keys of all builds that wait."""
        return list(self._queued)

    def queued(self, key: ObjectKey) -> QueuedBuild:
        """Return a build that waits; raises KeyError for one that does not."""
        return self._queued[key]

    def is_full(self, namespace: str) -> bool:
        """Return True if as many builds of the namespace have slots as may."""
        most = self._most_of_namespace
        return most is not None and self._running[namespace] >= most

    def add(self, build: QueuedBuild) -> None:
        """Let a build wait; one that waits keeps its place while it is as urgent as before."""
        if build.key in self._started:
            return
        if (known := self._queued.get(build.key)) is not None:
            if (known.urgency, known.own_urgency) == (build.urgency, build.own_urgency):
                return
            build = replace(known, urgency=build.urgency, own_urgency=build.own_urgency)
        self._queued[build.key] = build
        builds = self._builds.setdefault(build.config, _Ranking())
        builds.put(build.key, (build.since, build.number))
        self._rank(build)

    def discard(self, key: ObjectKey) -> None:
        """Forget a build that waits, if it does."""
        build = self._forget(key)
        if build is not None:
            self._rank(build)

    def first(self) -> ObjectKey | None:
        """Return the build whose turn it is; None: none waits."""
        namespace = self._namespaces.first()
        config = self._configs[namespace].first() if namespace is not None else None
        return self._builds[config].first() if config is not None else None

    def start(self, build: QueuedBuild) -> None:
        """Give a build a slot, whether it has waited or not."""
        self._turn += 1
        for share in (build.config, build.config.namespace):
            self._running[share] += 1
            self._turns[share] = self._turn
        self._started[build.key] = build
        known = self._forget(build.key)
        if known is not None and known.config != build.config:
            self._rank(known)
        self._rank(build)

    def finish(self, key: ObjectKey) -> None:
        """Take the slot of a build back, if it has one."""
        build = self._started.pop(key, None)
        if build is None:
            return
        for share in (build.config, build.config.namespace):
            self._running[share] -= 1
            if not self._running[share]:
                del self._running[share]
        if not self._queued and not self._started:
            self._turns.clear()  # nobody is left whom they could concern
        self._rank(build)

    def _forget(self, key: ObjectKey) -> QueuedBuild | None:
        build = self._queued.pop(key, None)
        if build is not None:
            self._builds[build.config].drop(key)
        return build

    def _rank(self, build: QueuedBuild) -> None:
        """Bring the ranks of the build's BuildConfig and namespace up to date."""
        config, namespace = build.config, build.config.namespace
        configs = self._configs.setdefault(namespace, _Ranking())
        builds = self._builds.get(config)
        oldest = builds.first() if builds is not None else None
        if oldest is not None:
            build = self._queued[oldest]
            urgency = max(build.urgency, build.own_urgency, key=abs)
            configs.put(config, self._rank_of(config, build, urgency))
        else:
            configs.drop(config)
            self._builds.pop(config, None)
        first = configs.first()
        oldest = self._builds[first].first() if first is not None else None
        if oldest is None:
            self._namespaces.drop(namespace)
            del self._configs[namespace]
        elif self.is_full(namespace):
            self._namespaces.drop(namespace)
        else:
            build = self._queued[oldest]
            self._namespaces.put(namespace, self._rank_of(namespace, build, build.urgency))

    def _rank_of(self, share: _Share, build: QueuedBuild, urgency: int) -> _Rank:
        turn = self._turns.get(share, 0)
        window = int(build.since.timestamp()) // _WINDOW_SECONDS
        weight = -build.dependents
        running = self._running[share]
        return _Rank(running, turn, -urgency, window, weight, build.since, build.number)


class _Ranking[K: Hashable, R]:
    """Keys by rank, the lowest first; any rank may change at any time."""

    __slots__ = ("_heap", "_ranks", "_sequence")

    def __init__(self) -> None:
        self._ranks: dict[K, R] = {}
        self._heap: list[tuple[R, int, K]] = []
        self._sequence = 0

    def put(self, key: K, rank: R) -> None:
        if self._ranks.get(key) != rank:
            self._ranks[key] = rank
            self._sequence += 1
            heappush(self._heap, (rank, self._sequence, key))
            if len(self._heap) > 2 * len(self._ranks) + _SLACK:
                self._heap = [(r, n, k) for n, (k, r) in enumerate(self._ranks.items())]
                heapify(self._heap)

    def drop(self, key: K) -> None:
        self._ranks.pop(key, None)

    def first(self) -> K | None:
        heap = self._heap
        while heap and self._ranks.get(heap[0][2]) != heap[0][0]:
            heappop(heap)  # outdated
        return heap[0][2] if heap else None
