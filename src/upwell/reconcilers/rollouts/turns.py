"""Turns of the rollouts that image change triggers begin: so many at once, fair to namespaces."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime, timedelta

from upwell.api.meta import ObjectKey, Resource
from upwell.controller import ObjectCache, Watch
from upwell.policy.builds.fairness import FairQueue, QueuedBuild
from upwell.policy.rollouts.commands import goes_at_once
from upwell.policy.rollouts.history import Phase, RolloutCause
from upwell.policy.rollouts.settings import WORKLOADS, Workload, is_paused
from upwell.policy.waves.budget import RolloutBudget

_LONGEST = timedelta(hours=1)
"""Time for which a rollout has a turn: one that takes longer keeps nobody waiting."""
_PLACES_FOR = timedelta(seconds=10)
"""Time for which the order of those that wait is told as it was counted."""
_ALL = ""


type Recorded = Callable[[Workload], Workload]
"""Returns a workload with the records of its rollouts, by what is stored of it."""


class RolloutTurns:
    """Rollouts that wait for their turn, in the order of builds: see `FairQueue`.

    Those under way are read from the statuses of workloads, so that nothing is lost with the
    process but who has waited for how long.
    """

    def __init__(
        self,
        cache: ObjectCache,
        clock: Callable[[], datetime],
        budget: RolloutBudget,
        recorded: Recorded = lambda workload: workload,
        hint: Callable[[Resource], str] = goes_at_once,
    ) -> None:
        """`recorded` is for workloads that another rolls out: their statuses have no records.

        `hint` names the command by which a person lets a workload go at once, if there is one.
        """
        self._clock = clock
        self._budget = budget
        self.limited = bool(budget.at_once or budget.per_namespace)
        """Rollouts wait for others at all."""
        kinds = WORKLOADS if self.limited else ()
        self._recorded = recorded
        self._hint = hint
        self._under_way = [cache.index(kind, self._while_under_way) for kind in kinds]
        self._unseen = [cache.index(kind, _while_unseen) for kind in kinds]
        self._queue = FairQueue()
        self._running: dict[ObjectKey, QueuedBuild] = {}
        self._beginning: set[ObjectKey] = set()
        """Those that have their turn, and whose images are being written."""
        self._has_read = False
        self._places: tuple[datetime | None, Mapping[ObjectKey, int]] = (None, {})

    def take(self, workload: Resource) -> str:
        """Give a workload its turn; if others come first, say so: it waits."""
        if not self.limited or not isinstance(workload, WORKLOADS):
            return ""
        self._read()
        key = workload.key
        if key in self._running:
            self._queue.discard(key)
            return ""
        self._queue.add(QueuedBuild(key, key, self._clock()))
        if self._next() == key:
            self._begin(self._queue.queued(key))
            self._beginning.add(key)
            return ""
        return self._waits(workload)

    def began(self, key: ObjectKey) -> None:
        """Note that the images of a workload are written, and that the cache shows it."""
        self._beginning.discard(key)

    def leave(self, key: ObjectKey) -> None:
        """Let a workload wait no longer, if it does: there is nothing to set."""
        self._queue.discard(key)

    def watches(self) -> Iterable[Watch[Workload]]:
        """Return which changes may give the next its turn."""
        return [Watch(kind, self._of_change) for kind in WORKLOADS] if self.limited else ()

    def _of_change(self, before: Workload | None, after: Workload | None) -> Iterator[ObjectKey]:
        if self._state(before) != self._state(after) and len(self._queue):
            self._read()
            if (following := self._next()) is not None:
                yield following

    def _next(self) -> ObjectKey | None:
        """Return the workload whose turn it is, if one is free."""
        budget = self._budget
        if budget.at_once and len(self._running) >= budget.at_once:
            return None
        first = self._queue.first()
        if first is None or not budget.per_namespace:
            return first
        # It is of the namespace with the fewest: if that has all of its turns, the others have too.
        own = Counter(key.namespace for key in self._running)[first.namespace]
        return first if own < budget.per_namespace else None

    def _read(self) -> None:
        """Take in which rollouts are under way now."""
        since = self._clock() - _LONGEST
        under_way = {
            one.key
            for index in self._under_way
            for one in index.get(_ALL)
            if self._recorded(one).status.revisions[0].created > since
        }
        unseen = {one.key for index in self._unseen for one in index.get(_ALL)}
        for key in [*self._running]:
            if key not in under_way and key not in unseen and key not in self._beginning:
                del self._running[key]
                self._queue.finish(key)
        # A server that ended in between has written images whose rollouts nothing tells of yet.
        begun = under_way if self._has_read else under_way | unseen
        self._has_read = True
        for key in begun:
            if key not in self._running:
                self._begin(QueuedBuild(key, key, self._clock()))

    def _begin(self, rollout: QueuedBuild) -> None:
        self._running[rollout.key] = rollout
        self._queue.start(rollout)

    def _waits(self, workload: Workload) -> str:
        place, all_waiting = self._place(workload.key), len(self._queue)
        own = sum(key.namespace == workload.namespace for key in self._running)
        if self._budget.per_namespace and own >= self._budget.per_namespace:
            busy = f"{own} of {self._budget.per_namespace} rollouts of its namespace are under way"
        else:
            most = self._budget.at_once or len(self._running)
            busy = f"{len(self._running)} of {most} rollouts are under way"
        return f"waits for its turn, {place} of {all_waiting}: {busy}{self._hint(workload)}"

    def _place(self, key: ObjectKey) -> int:
        """Return the place of a workload among those that wait, from 1 on."""
        now = self._clock()
        counted, places = self._places
        if counted is None or now - counted > _PLACES_FOR or key not in places:
            places = {one: place for place, one in enumerate(self._order(), 1)}
            self._places = now, places
        return places[key]

    def _order(self) -> Iterator[ObjectKey]:
        queue = FairQueue()
        for rollout in self._running.values():
            queue.start(rollout)
        for key in self._queue.waiting():
            queue.add(self._queue.queued(key))
        while (first := queue.first()) is not None:
            yield first
            queue.start(queue.queued(first))

    def _while_under_way(self, workload: Workload) -> tuple[str, ...]:
        newest = next(iter(self._recorded(workload).status.revisions), None)
        goes_on = (
            newest is not None
            and newest.phase == Phase.PROGRESSING
            and newest.cause == RolloutCause.IMAGE_CHANGE
            and not is_paused(workload)
        )
        return (_ALL,) if goes_on else ()

    def _state(self, workload: Workload | None) -> object:
        return workload and (self._while_under_way(workload), _while_unseen(workload))


def _while_unseen(workload: Workload) -> tuple[str, ...]:
    """Return the key of a workload whose last change no rollout has taken in yet."""
    seen = (workload.status.observed_generation or 0) >= workload.generation
    return () if seen or is_paused(workload) else (_ALL,)
