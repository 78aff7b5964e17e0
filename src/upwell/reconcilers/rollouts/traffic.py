"""State that rollouts and routing share while the process lives.

Nothing here has to outlive it: after a restart the rollout policy names the same instances to
drain, and the first routing table says anew which of them are quiet. Until then none counts as
drained, so that none is stopped too early.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import datetime

from upwell.api.meta import ObjectKey
from upwell.policy.routing.claims import Place
from upwell.policy.routing.table import InForce

ROUTER_KEY = ObjectKey("Router", "", "router")
"""The one key of the routing reconciler: it always computes the whole table."""
FIREWALL_KEY = ObjectKey("Firewall", "", "firewall")
"""The one key of the firewall's reconciler: so does that."""


class KeyFeed:
    """Keys for one listener, each once, in the order in which they were first added."""

    def __init__(self) -> None:
        self._pending: dict[ObjectKey, None] = {}
        self._wake = asyncio.Event()

    def add(self, key: ObjectKey) -> None:
        """Hand `key` to the listener."""
        self._pending[key] = None
        self._wake.set()

    async def keys(self) -> AsyncIterator[ObjectKey]:
        """Yield keys for ever."""
        while True:
            while self._pending:
                key = next(iter(self._pending))
                del self._pending[key]
                yield key
            self._wake.clear()
            await self._wake.wait()


class Traffic:
    """Instances that shall drain, as rollouts say, and those that are served, as routing says."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._draining: dict[ObjectKey, frozenset[str]] = {}
        self._quiet_since: dict[str, datetime] = {}
        self._in_force: InForce | None = None
        self.for_routing = KeyFeed()
        self.for_rollouts = KeyFeed()
        self.for_firewall = KeyFeed()

    def drain(self, owner: ObjectKey, names: frozenset[str]) -> None:
        """Say which instances of `owner` shall get no requests; all its others shall."""
        before = self._draining.get(owner, frozenset())
        if names == before:
            return
        for name in before - names:
            self._quiet_since.pop(name, None)
        if names:
            self._draining[owner] = names
        else:
            del self._draining[owner]
        self.for_routing.add(ROUTER_KEY)

    def draining(self) -> frozenset[str]:
        """Return every instance that shall get no requests."""
        return frozenset().union(*self._draining.values())

    def publish(self, in_force: InForce) -> None:
        """Say what the router does now; rollouts that it concerns are called again."""
        before = self._in_force or InForce()
        if self.places() != in_force.places:
            self.for_firewall.add(FIREWALL_KEY)
        self._in_force = in_force
        wanted = self.draining()
        for name in [name for name in self._quiet_since if name not in in_force.quiet]:
            del self._quiet_since[name]
        for name in in_force.quiet & wanted:
            self._quiet_since.setdefault(name, self._clock())
        for owner, names in self._draining.items():
            if names & in_force.quiet:
                self.for_rollouts.add(owner)
        for name in in_force.serving.keys() - before.serving.keys():
            self.for_rollouts.add(in_force.serving[name])
        for owner, routed in in_force.routed.items():
            if before.routed.get(owner) is not routed:
                self.for_rollouts.add(owner)

    def places(self) -> Mapping[Place, ObjectKey] | None:
        """Return where the router listens, and for whom; None until it was told."""
        return None if self._in_force is None else self._in_force.places

    def quiet_since(self, name: str) -> datetime | None:
        """Return since when the instance has got no new requests; None while it may get some."""
        return self._quiet_since.get(name)

    def backends(self, name: str) -> tuple[str, ...]:
        """Return the backends in which the instance may have sessions."""
        return () if self._in_force is None else self._in_force.backends.get(name, ())

    def is_live(self, owner: ObjectKey, name: str) -> bool:
        """Return True if a ready instance takes traffic; without a Service each does."""
        if self._in_force is None or owner not in self._in_force.routed:
            return False
        return not self._in_force.routed[owner] or name in self._in_force.serving
