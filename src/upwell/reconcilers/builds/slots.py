"""The build slots of this machine: whose turn it is, and whether anything may begin at all.

A build that pushes to a registry in a storm takes no slot before the storm is over.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from upwell.api.meta import ObjectKey
from upwell.machine.disk import DiskFault, PressureCheck, no_pressure
from upwell.policy.builds.fairness import FairQueue, QueuedBuild
from upwell.policy.builds.push_gates import FIRST_PAUSE, OUTPUT_RATE_LIMITED, PushGates

_PRESSURE_PAUSE = 2.0
"""Seconds between looks at whether there is room again: as often as the disk is looked at."""


def _never_closed(_registry: str) -> float:
    return 0.0


@dataclass(frozen=True, slots=True)
class BuildCapacity:
    """Builds that this machine runs at once; none begins under `pressure`."""

    slots: int
    pressure: PressureCheck = no_pressure
    was_short: Callable[[datetime], bool] = lambda _: False
    """Returns whether there was pressure at a time, or later."""
    closed_for: Callable[[str], float] = _never_closed
    """Returns for how many seconds a registry is asked nothing: its budget is closed."""
    slots_of_namespace: int | None = None
    """Of these, as many as the builds of one namespace may have; None: all."""


class BuildSlots:
    """Builds that wait for a slot, and those that have one.

    `look_again` is called for a build whose turn has come, and for each that waits when there is
    pressure, or none any more, so that its status says so. Builds that push to a registry which
    refuses pushes wait beside the others, and stand in nobody's way.
    """

    def __init__(self, capacity: BuildCapacity, look_again: Callable[[ObjectKey], None]) -> None:
        self._slots = capacity.slots
        self._slots_of_namespace = capacity.slots_of_namespace
        self._pressure = capacity.pressure
        self._look_again = look_again
        self._queue = FairQueue(capacity.slots_of_namespace)
        self._running: dict[ObjectKey, str] = {}
        """Registry that each build with a slot pushes to."""
        self._closed_for = capacity.closed_for
        self._gates = PushGates()
        self._held: dict[str, FairQueue] = {}
        """Builds that wait for the registry that they push to."""
        self._held_by: dict[ObjectKey, str] = {}
        self._openings: dict[str, asyncio.TimerHandle] = {}
        self._next_look: asyncio.TimerHandle | None = None

    def take(self, build: QueuedBuild) -> bool:
        """Give `build` a slot if it is its turn; otherwise it waits for it here."""
        wait = self._wait_for(build.registry)
        if wait > 0:
            self._hold(build, wait)
            self._call_next()
            return False
        self._release(build.key)
        self._queue.add(build)
        is_next = self._may_begin() and self._queue.first() == build.key
        if is_next:
            self._queue.start(build)
            self._running[build.key] = build.registry
            self._gates.begin(build.registry, build.key, _time())
        self._call_next()
        return is_next

    def __contains__(self, key: object) -> bool:
        return key in self._queue or key in self._held_by

    def waiting(self) -> list[ObjectKey]:
        """Return the builds that wait for a slot, or for the registry that they push to."""
        return [*self._queue.waiting(), *self._held_by]

    def leave(self, key: ObjectKey) -> None:
        """Let a build wait no longer, if it does: something else than a slot is missing."""
        self._queue.discard(key)
        registry = self._held_by.get(key)
        self._release(key)
        if registry is not None:
            self._look_at_held(registry)
        self._call_next()

    def pushed(self, key: ObjectKey) -> None:
        """Note that a build with a slot has pushed: others may push to that registry too."""
        registry = self._running.get(key, "")
        if registry in self._gates:
            self._gates.accept(registry)
            self._look_at_held(registry)

    def refused(self, key: ObjectKey) -> None:
        """Note that the registry has refused what a build with a slot pushed."""
        if registry := self._running.get(key, ""):
            self._gates.refuse(registry, key, _time())

    def give_back(self, key: ObjectKey) -> None:
        """Take the slot of a build that has ended."""
        registry = self._running.pop(key, "")
        if registry in self._gates:
            self._gates.end(registry, key, _time())
            self._look_at_held(registry)
        self._queue.finish(key)
        self._call_next()

    def obstacle(self, key: ObjectKey) -> tuple[str, str] | None:
        """Return reason and message of what keeps a build from beginning now, if anything does."""
        if registry := self._held_by.get(key):
            # Without a time: that would be another one at each try, for all that wait.
            one = f"waits for {registry}, which limits requests: one build at a time tries"
            return OUTPUT_RATE_LIMITED, f"{one} whether it takes pushes again"
        if pressure := self._pressure():
            return DiskFault.FULL.value, f"waits for room: {pressure}"
        if len(self._running) >= self._slots:
            busy = f"{len(self._running)} of {self._slots} in use"
            return "NoFreeSlot", f"waits for a free build slot: {busy}"
        if self._queue.is_full(key.namespace):
            most = self._slots_of_namespace
            busy = f"namespace {key.namespace} has all {most} that it may have"
            return "NoFreeSlot", f"waits for a free build slot: {busy}"
        return None

    def close(self) -> None:
        """Look at nothing until a build asks for a slot again."""
        for timer in (self._next_look, *self._openings.values()):
            if timer is not None:
                timer.cancel()
        self._next_look = None
        self._openings.clear()

    def _wait_for(self, registry: str) -> float:
        """Return the seconds until a build that pushes there may begin."""
        if not registry:
            return 0.0
        return max(self._gates.wait(registry, _time()), self._closed_for(registry))

    def _hold(self, build: QueuedBuild, seconds: float) -> None:
        self._queue.discard(build.key)
        if self._held_by.get(build.key, build.registry) != build.registry:
            self._release(build.key)
        self._held_by[build.key] = build.registry
        self._held.setdefault(build.registry, FairQueue()).add(build)
        if build.registry not in self._openings:
            self._look_later(build.registry, seconds)

    def _release(self, key: ObjectKey) -> None:
        registry = self._held_by.pop(key, None)
        if registry is None:
            return
        self._held[registry].discard(key)
        if not len(self._held[registry]):
            del self._held[registry]
            if (timer := self._openings.pop(registry, None)) is not None:
                timer.cancel()

    def _look_later(self, registry: str, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        self._openings[registry] = loop.call_later(seconds, self._look_at_held, registry)

    def _look_at_held(self, registry: str) -> None:
        """Have held builds looked at: all, or one while the registry may refuse its push."""
        if (timer := self._openings.pop(registry, None)) is not None:
            timer.cancel()
        held = self._held.get(registry)
        if held is None:
            return
        if (wait := self._wait_for(registry)) > 0:
            self._look_later(registry, wait)
        elif registry not in self._gates:
            for key in held.waiting():
                self._look_again(key)
        elif (first := held.first()) is not None:
            self._look_again(first)
            self._look_later(registry, FIRST_PAUSE)  # at another one, if this one does not begin

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


def _time() -> float:
    return asyncio.get_running_loop().time()
