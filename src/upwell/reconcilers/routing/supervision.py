"""Keeps the router up: applies the last table again whenever it may not be in force any more.

This needs neither the store nor the runtime, so that a fault of theirs keeps no router down. The
ordinary table follows, with what has changed meanwhile.
"""

from collections.abc import AsyncIterator

from upwell.api.meta import ObjectKey
from upwell.controller import Backoff, Controller, ObjectCache, Result
from upwell.reconcilers.rollouts.machine import RolloutPorts
from upwell.reconcilers.rollouts.traffic import ROUTER_KEY

RETRIES = Backoff(first=0.5, longest=5)
"""Of a router that is down: nothing is served meanwhile."""


class RouterSupervision:
    """Has one key, as there is one router."""

    def __init__(self, machine: RolloutPorts) -> None:
        self._router = machine.router
        self._traffic = machine.traffic

    async def reconcile(self, key: ObjectKey) -> Result:
        """Restore the last table, and ask for the ordinary one."""
        await self._router.restore()
        self._traffic.for_routing.add(key)
        return Result()

    async def disruptions(self) -> AsyncIterator[ObjectKey]:
        """Yield the router's key for each disruption, for ever."""
        async for _ in self._router.disruptions():
            yield ROUTER_KEY


def router_supervision_controller(cache: ObjectCache, machine: RolloutPorts) -> Controller:
    """Return the controller that keeps the router up."""
    supervision = RouterSupervision(machine)
    feeds = (supervision.disruptions,)
    return Controller("router", supervision, cache, (), feeds=feeds, workers=1, backoff=RETRIES)
