"""The work queue: each key once, never two workers on one key, backoff for those that fail."""

import asyncio
import heapq
from collections import deque

from upwell.machine.backoff import Backoff


class WorkQueue[K]:
    """Keys to work on, in order of arrival.

    A key added while it waits is one entry; added while a worker has it, it comes again after
    `done`: no change is lost, and no key is worked on twice at a time.
    """

    def __init__(self, backoff: Backoff | None = None) -> None:
        self._backoff = backoff or Backoff()
        self._ready: deque[K] = deque()
        self._waiting: set[K] = set()
        self._working: set[K] = set()
        self._again: set[K] = set()
        self._failures: dict[K, int] = {}
        self._later: list[tuple[float, int, K]] = []
        self._due: dict[K, float] = {}
        self._sequence = 0
        self._wake = asyncio.Event()

    def add(self, key: K) -> None:
        """Ask for work on `key` now."""
        self._due.pop(key, None)
        if key in self._working:
            self._again.add(key)
        elif key not in self._waiting:
            self._waiting.add(key)
            self._ready.append(key)
            self._wake.set()

    def add_after(self, key: K, seconds: float) -> None:
        """Ask for work on `key` in `seconds`; an earlier time stands."""
        due = asyncio.get_running_loop().time() + max(seconds, 0)
        if key in self._waiting or self._due.get(key, due + 1) <= due:
            return
        self._due[key] = due
        self._sequence += 1
        heapq.heappush(self._later, (due, self._sequence, key))
        self._wake.set()

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
            if self._ready:
                key = self._ready.popleft()
                self._waiting.discard(key)
                self._working.add(key)
                return key
            self._wake.clear()
            await self._wait()

    def done(self, key: K) -> None:
        """Give the key back."""
        self._working.discard(key)
        if key in self._again:
            self._again.discard(key)
            self.add(key)

    def __len__(self) -> int:
        return len(self._ready) + len(self._due)

    def _move_due(self) -> None:
        now = asyncio.get_running_loop().time()
        while self._later and self._later[0][0] <= now:
            due, _, key = heapq.heappop(self._later)
            if self._due.get(key) == due:  # else an earlier one was served since
                self.add(key)

    async def _wait(self) -> None:
        if not self._later:
            await self._wake.wait()
            return
        pause = self._later[0][0] - asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(max(pause, 0)):
                await self._wake.wait()
        except TimeoutError:
            return
