"""Lag of the event loop: how long others wait while something holds it."""

import asyncio
import time

from upwell.server.metrics.metrics import Metrics

_PERIOD = 0.25
"""Seconds: each look wakes a server that has nothing else to do."""


async def watch_loop(metrics: Metrics, period: float = _PERIOD) -> None:
    """Observe how much later than wanted the loop has its turn, until cancelled."""
    while True:
        began = time.monotonic()
        await asyncio.sleep(period)
        metrics.observe_lag(max(0.0, time.monotonic() - began - period))
