"""Keeps the router up: applies the last table again whenever it may not be in force any more.

This needs neither the store nor the runtime, so that a fault of theirs keeps no router down. The
ordinary table follows, with what has changed meanwhile.
"""

import asyncio
from collections.abc import AsyncIterator

from upwell.api.meta import ObjectKey
from upwell.controller import Controller, ObjectCache, Result
from upwell.machine.backoff import Backoff
from upwell.reconcilers.rollouts.machine import RolloutPorts
from upwell.reconcilers.rollouts.traffic import ROUTER_KEY

RETRIES = Backoff(first=0.5, longest=5)
"""Of a router that is down: nothing is served meanwhile."""
_CRASHES = Backoff(first=0.5, longest=3)
"""Of a router that does not stay up."""


class RouterSupervision:
    """Has one key, as there is one router."""

    def __init__(self, machine: RolloutPorts) -> None:
        self._router = machine.router
        self._traffic = machine.traffic
        self._unsteady = 0
        """Times in a row that the router was restored and did not stay up."""
        self._not_before = float("-inf")
        """By the loop's clock: one that ends again and again is given time."""

    async def reconcile(self, key: ObjectKey) -> Result:
        """Restore the last table, and ask for the ordinary one."""
        clock = asyncio.get_running_loop().time
        if (pause := self._not_before - clock()) > 0:
            return Result(pause)
        steady = await self._router.restore()
        self._traffic.for_routing.add(key)
        self._unsteady = 0 if steady else self._unsteady + 1
        if steady:
            return Result()
        pause = _CRASHES.delay(self._unsteady)
        self._not_before = clock() + pause
        return Result(pause)

    async def disruptions(self) -> AsyncIterator[ObjectKey]:
        """Yield the router's key for each disruption, for ever."""
        async for _ in self._router.disruptions():
            yield ROUTER_KEY


def router_supervision_controller(cache: ObjectCache, machine: RolloutPorts) -> Controller:
    """Return the controller that keeps the router up."""
    supervision = RouterSupervision(machine)
    feeds = (supervision.disruptions,)
    return Controller("router", supervision, cache, (), feeds=feeds, workers=1, backoff=RETRIES)
