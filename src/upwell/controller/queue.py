"""The work queue: each key once, never two workers on one key, backoff for those that fail."""

import asyncio
import heapq
from collections import Counter, OrderedDict, deque

from upwell.api.meta import ObjectKey
from upwell.machine.backoff import Backoff

_MOST_AHEAD = 3
"""Turns in a row for keys that are to be first; then one of the others has its own.

A stranger may tell of changes without end: nothing else of the namespace waits for ever."""
_KEPT_BACK = 4
"""This part of the workers is kept back for other namespaces than the one that has the rest."""


class _Line[K]:
    """Keys of one namespace that wait, each in one of both."""

    def __init__(self) -> None:
        self.first = deque[K]()
        self.others = deque[K]()
        self.ahead = 0
        """Turns that the first have had in a row while others waited."""

    def add(self, key: K, *, first: bool) -> None:
        (self.first if first else self.others).append(key)

    def move_ahead(self, key: K) -> None:
        if key not in self.first:
            self.others.remove(key)
            self.first.append(key)

    def pop(self) -> K:
        if self.first and not (self.others and self.ahead >= _MOST_AHEAD):
            self.ahead += bool(self.others)
            return self.first.popleft()
        self.ahead = 0
        return self.others.popleft()

    @property
    def is_empty(self) -> bool:
        return not (self.first or self.others)


class WorkQueue[K]:
    """Keys to work on: each namespace in turn, and of one in order of arrival.

    Those that are to be first, as somebody waits for them, have three of four turns of their
    namespace.

    A key added while it waits is one entry; added while a worker has it, it comes again after
    `done`: no change is lost, and no key is worked on twice at a time.

    So nobody waits for all that another namespace asks for, and, where there are four workers or
    more, nobody waits for work of one that is stuck: as long as the queue knows keys of others, a
    namespace has at most three quarters of the workers.
    """

    def __init__(self, backoff: Backoff | None = None) -> None:
        self._backoff = backoff or Backoff()
        self._ready: OrderedDict[str, _Line[K]] = OrderedDict()
        """By namespace, in the order of their next turns; none is empty."""
        self._waiting: set[K] = set()
        self._working: set[K] = set()
        self._workers = 1
        self._known: Counter[str] = Counter()
        """Keys by namespace that wait, are worked on, or are asked for later."""
        self._taken: Counter[str] = Counter()
        """Keys by namespace that are worked on."""
        self._again: dict[K, bool] = {}
        """Keys that come again after `done`; True: first."""
        self._failures: dict[K, int] = {}
        self._later: list[tuple[float, int, K]] = []
        self._due: dict[K, float] = {}
        self._sequence = 0
        self._timer: asyncio.TimerHandle | None = None
        """Moves what is due next; one for all workers."""
        self._idle: deque[asyncio.Future[None]] = deque()
        """Workers that wait. One is woken for what can be taken, and wakes the next if more can."""

    def expect(self, workers: int) -> None:
        """Say how many workers take keys."""
        self._workers = workers

    def add(self, key: K, *, first: bool = False) -> None:
        """Ask for work on `key` now; `first`: before others of its namespace that wait."""
        self._note(key)
        self._due.pop(key, None)
        if key in self._working:
            self._again[key] = first or self._again.get(key, False)
        elif key not in self._waiting:
            self._waiting.add(key)
            self._ready.setdefault(_namespace(key), _Line()).add(key, first=first)
            self._wake_one()
        elif first:
            self._ready[_namespace(key)].move_ahead(key)

    def add_after(self, key: K, seconds: float) -> None:
        """Ask for work on `key` in `seconds`; an earlier time stands."""
        due = asyncio.get_running_loop().time() + max(seconds, 0)
        if key in self._waiting or self._due.get(key, due + 1) <= due:
            return
        self._note(key)
        self._due[key] = due
        self._sequence += 1
        heapq.heappush(self._later, (due, self._sequence, key))
        self._set_timer()

    def retry(self, key: K, at_least: float = 0) -> float:
        """Ask for work on `key` after its backoff (or `at_least`, if longer); return the wait."""
        self._failures[key] = self._failures.get(key, 0) + 1
        delay = max(self._backoff.delay(self._failures[key]), at_least)
        self.add_after(key, delay)
        return delay

    def forget(self, key: K) -> None:
        """Start the key's backoff anew: it succeeded."""
        self._failures.pop(key, None)

    def retry_now(self) -> None:
        """Ask for work on each key that waits after a failure now, and start its backoff anew.

        For when the cause of failures is known to be gone.
        """
        for key in list(self._failures):
            self.forget(key)
            if key in self._due:
                self.add(key)

    def failures(self, key: K) -> int:
        """Return how often the key has failed in a row."""
        return self._failures.get(key, 0)

    async def get(self) -> K:
        """Wait for a key and take it; `done` must follow."""
        while True:
            self._move_due()
            namespace = self._next_namespace()
            if namespace is not None:
                key = self._take(namespace)
                self._wake_one()
                return key
            await self._wait()

    def done(self, key: K) -> None:
        """Give the key back."""
        namespace = _namespace(key)
        self._working.discard(key)
        _count_down(self._taken, namespace)
        if key not in self._due:
            _count_down(self._known, namespace)
        if key in self._again:
            self.add(key, first=self._again.pop(key))
        self._wake_one()  # keys of the namespace may have waited for this one

    def __len__(self) -> int:
        return len(self._waiting) + len(self._due)

    def _next_namespace(self) -> str | None:
        kept_back = self._workers // _KEPT_BACK if len(self._known) > 1 else 0
        most = self._workers - kept_back if kept_back else None
        for namespace in self._ready:  # at most one has as many as it may have
            if most is None or self._taken[namespace] < most:
                return namespace
        return None

    def _take(self, namespace: str) -> K:
        line = self._ready[namespace]
        key = line.pop()
        if line.is_empty:
            del self._ready[namespace]
        else:
            self._ready.move_to_end(namespace)
        self._waiting.discard(key)
        self._working.add(key)
        self._taken[namespace] += 1
        return key

    def _note(self, key: K) -> None:
        """Count a key that the queue has not known."""
        if not (key in self._waiting or key in self._working or key in self._due):
            self._known[_namespace(key)] += 1

    def _move_due(self) -> None:
        now = asyncio.get_running_loop().time()
        while self._later and self._later[0][0] <= now:
            due, _, key = heapq.heappop(self._later)
            if self._due.get(key) == due:  # else an earlier one was served since
                self.add(key)

    def _set_timer(self) -> None:
        """Have what is due next moved at its time; a timer that is too early stays."""
        if not self._later:
            return
        due = self._later[0][0]
        if self._timer is not None:
            if self._timer.when() <= due:
                return
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_at(due, self._ring)

    def _ring(self) -> None:
        self._timer = None
        self._move_due()
        self._set_timer()

    def _wake_one(self) -> None:
        """Wake a worker if there is a key that it may take."""
        while self._idle and self._next_namespace() is not None:
            woken = self._idle.popleft()
            if not woken.done():  # else its worker is being cancelled
                woken.set_result(None)
                return

    async def _wait(self) -> None:
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._idle.append(woken)
        try:
            await woken
        except asyncio.CancelledError:
            if woken in self._idle:
                self._idle.remove(woken)
            else:
                self._wake_one()  # another has to take what this one was woken for
            raise


def _namespace(key: object) -> str:
    """Return whose turn a key's is; all but objects have one together."""
    return key.namespace if isinstance(key, ObjectKey) else ""


def _count_down(counts: Counter[str], namespace: str) -> None:
    counts[namespace] -= 1
    if counts[namespace] <= 0:
        del counts[namespace]
