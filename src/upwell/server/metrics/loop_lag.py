"""Lag of the event loop: how long others wait while something holds it."""

import asyncio

from upwell.machine.clock import elapsed, until_tick
from upwell.server.metrics.metrics import Metrics

_PERIOD = 1.0
"""Seconds: each look wakes a server that has nothing else to do."""


async def watch_loop(metrics: Metrics, period: float = _PERIOD) -> None:
    """Observe how much later than wanted the loop has its turn, until cancelled."""
    while True:
        wanted = elapsed() + until_tick(period)
        await asyncio.sleep(wanted - elapsed())
        metrics.observe_lag(max(0.0, elapsed() - wanted))
