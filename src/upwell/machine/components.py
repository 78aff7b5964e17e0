"""State of what the server starts or stands on: router, runtime service, disk, clock.

Whoever watches such a component reports its faults here; readiness, metrics, and the objects that
people and Subscriptions hear of are all made from this one record.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from upwell.machine.clock import now

_MOST_FAULTS = 10
"""Faults that are remembered of each component: whoever is slow to look misses none of these."""


@dataclass(frozen=True, slots=True)
class ComponentFault:
    """A time in which a component was faulty; the times are in UTC."""

    since: datetime
    reason: str
    message: str
    until: datetime | None = None
    """None while it lasts."""


@dataclass(frozen=True, slots=True)
class ComponentState:
    """State of one component, as it was reported last."""

    name: str
    since: datetime
    """UTC; time of the last turn between well and faulty."""
    reason: str = ""
    """CamelCase, for a condition; empty while nothing is wrong."""
    message: str = ""
    """Fault for people, with the next step."""
    required: bool = True
    """False: the server is ready in spite of the fault."""
    restarts: int = 0
    """Times that it was started anew since this process began."""
    faults: tuple[ComponentFault, ...] = ()
    """Last ones since this process began, in order."""
    reported: bool = False
    """False until somebody has reported on it: it is taken for well, without evidence."""

    @property
    def faulty(self) -> bool:
        """True while something is wrong."""
        return bool(self.reason)


class WatchedComponent:
    """One component, for whoever watches it to report on. Any call may be repeated."""

    def __init__(
        self, state: ComponentState, clock: Callable[[], datetime], changed: Callable[[], None]
    ) -> None:
        self.state = state
        self._clock = clock
        self._changed = changed

    def fail(self, reason: str, message: str) -> None:
        """Report a fault: a CamelCase reason, and what is wrong and comes next, for people."""
        state, now = self.state, self._clock()
        since = state.since if state.faulty else now
        earlier = state.faults[:-1] if state.faulty else state.faults
        faults = (*earlier, ComponentFault(since, reason, message))[-_MOST_FAULTS:]
        self._become(
            replace(
                state, reason=reason, message=message, since=since, faults=faults, reported=True
            )
        )

    def recover(self) -> None:
        """Report that nothing is wrong."""
        state = replace(self.state, reported=True)
        if state.faulty:
            now = self._clock()
            faults = (*state.faults[:-1], replace(state.faults[-1], until=now))
            state = replace(state, reason="", message="", since=now, faults=faults)
        self._become(state)

    def count_restart(self) -> None:
        """Report that it was started anew."""
        self._become(replace(self.state, restarts=self.state.restarts + 1))

    def _become(self, state: ComponentState) -> None:
        if state != self.state:
            self.state = state
            self._changed()


class Components:
    """Record of all components of one server."""

    def __init__(self, clock: Callable[[], datetime] = now) -> None:
        self._clock = clock
        self._began = clock()
        self._components: dict[str, WatchedComponent] = {}
        self._listeners: set[asyncio.Event] = set()

    def add(self, name: str, *, required: bool = True) -> WatchedComponent:
        """Return the component of that name, which is well until somebody reports a fault."""
        if name not in self._components:
            state = ComponentState(name, self._clock(), required=required)
            self._components[name] = WatchedComponent(state, self._clock, self._notify)
            self._notify()
        return self._components[name]

    def states(self) -> Sequence[ComponentState]:
        """Return the state of each, by name."""
        return [self._components[name].state for name in sorted(self._components)]

    def well_since(self) -> datetime:
        """Return the time since which no required component has had a fault: now, while one has."""
        required = [state for state in self.states() if state.required]
        if any(state.faulty for state in required):
            return self._clock()
        return max((state.since for state in required), default=self._began)

    def fault_since(self, moment: datetime, name: str = "") -> str:
        """Return a fault of a required component that lasted then, or came later; empty: none.

        With a name, that component's alone counts.
        """
        for state in self.states():
            if name not in {"", state.name}:
                continue
            for fault in reversed(state.faults if state.required else ()):
                if fault.until is None or fault.until >= moment:
                    tense = "is" if fault.until is None else "was"
                    return f"{state.name} {tense} faulty ({fault.reason}: {fault.message})"
        return ""

    async def changes(self) -> AsyncIterator[Sequence[ComponentState]]:
        """Yield all states now, and after changes; changes in quick succession count as one."""
        changed = asyncio.Event()
        self._listeners.add(changed)
        try:
            while True:
                changed.clear()
                yield self.states()
                await changed.wait()
        finally:
            self._listeners.discard(changed)

    def _notify(self) -> None:
        for listener in self._listeners:
            listener.set()
