"""The build slots of this machine: whose turn it is, and whether anything may begin at all."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from upwell.api.meta import ObjectKey
from upwell.machine.disk import DiskFault, PressureCheck, no_pressure
from upwell.policy.builds.fairness import FairQueue, QueuedBuild

_PRESSURE_PAUSE = 2.0
"""Seconds between looks at whether there is room again: as often as the disk is looked at."""


@dataclass(frozen=True, slots=True)
class BuildCapacity:
    """Builds that this machine runs at once; none begins under `pressure`."""

    slots: int
    pressure: PressureCheck = no_pressure
    was_short: Callable[[datetime], bool] = lambda _: False
    """Returns whether there was pressure at a time, or later."""


class BuildSlots:
    """Builds that wait for a slot, and those that have one.

    `look_again` is called for a build whose turn has come, and for each that waits when there is
    pressure, or none any more, so that its status says so.
    """

    def __init__(self, capacity: BuildCapacity, look_again: Callable[[ObjectKey], None]) -> None:
        self._slots = capacity.slots
        self._pressure = capacity.pressure
        self._look_again = look_again
        self._queue = FairQueue()
        self._running: set[ObjectKey] = set()
        self._next_look: asyncio.TimerHandle | None = None

    def take(self, build: QueuedBuild) -> bool:
        """Give `build` a slot if it is its turn; otherwise it waits for it here."""
        self._queue.add(build)
        is_next = self._may_begin() and self._queue.first() == build.key
        if is_next:
            self._queue.start(build)
            self._running.add(build.key)
        self._call_next()
        return is_next

    def __contains__(self, key: object) -> bool:
        return key in self._queue

    def waiting(self) -> list[ObjectKey]:
        """Return the builds that wait for a slot."""
        return self._queue.waiting()

    def leave(self, key: ObjectKey) -> None:
        """Let a build wait no longer, if it does: something else than a slot is missing."""
        self._queue.discard(key)
        self._call_next()

    def give_back(self, key: ObjectKey) -> None:
        """Take the slot of a build that has ended."""
        self._running.discard(key)
        self._queue.finish(key)
        self._call_next()

    def obstacle(self) -> tuple[str, str] | None:
        """Return reason and message of what keeps builds from beginning now, if anything does."""
        if pressure := self._pressure():
            return DiskFault.FULL.value, f"waits for room: {pressure}"
        if len(self._running) >= self._slots:
            busy = f"{len(self._running)} of {self._slots} in use"
            return "NoFreeSlot", f"waits for a free build slot: {busy}"
        return None

    def close(self) -> None:
        """Look at nothing any more."""
        if self._next_look is not None:
            self._next_look.cancel()

    def _may_begin(self) -> bool:
        return len(self._running) < self._slots and not self._pressure()

    def _call_next(self) -> None:
        """Have the build looked at whose turn it is."""
        if not len(self._queue):
            return
        if self._pressure():
            self._wait_for_room()
        elif self._next_look is None and len(self._running) < self._slots:
            key = self._queue.first()
            if key is not None:
                self._look_again(key)

    def _wait_for_room(self) -> None:
        if self._next_look is None:
            self._schedule()
            self._look_at_all()

    def _schedule(self) -> None:
        loop = asyncio.get_running_loop()
        self._next_look = loop.call_later(_PRESSURE_PAUSE, self._look_for_room)

    def _look_for_room(self) -> None:
        if self._pressure() and len(self._queue):
            self._schedule()
        else:
            self._next_look = None
            self._look_at_all()

    def _look_at_all(self) -> None:
        for key in self._queue.waiting():
            self._look_again(key)
