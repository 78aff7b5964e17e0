"""A running server, as the kernel shows its process."""

import asyncio
import re
import time
from pathlib import Path

from tests.support.benchmarks.processor_time import process_seconds
from tests.support.installation.installation import Installation

SECONDS = 300
QUIET_SECONDS = 3.0
"""A server that has used next to no processor for so long has looked at everything."""


class MeasuredServer:
    """The process of a server, as the kernel shows it."""

    def __init__(self, server: Installation) -> None:
        self._server = server

    @property
    def memory(self) -> float:
        """Resident memory in MiB."""
        status = Path(f"/proc/{self._server.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+) kB", status)
        assert found is not None
        return int(found[1]) / 1024

    @property
    def processor(self) -> float:
        """Seconds of processor used since its start."""
        return process_seconds(self._server.pid)

    async def quiet(self) -> None:
        """Wait until it has looked at everything."""
        used, since = self.processor, time.monotonic()
        async with asyncio.timeout(SECONDS):
            while time.monotonic() - since < QUIET_SECONDS:
                await asyncio.sleep(0.1)
                if self.processor - used > 0.02 * QUIET_SECONDS:
                    used, since = self.processor, time.monotonic()

    async def restart(self) -> tuple[float, float]:
        """Start it anew; return the seconds until it is ready, and those of the processor."""
        self._server.stop()
        started = time.perf_counter()
        await self._server.start()
        return time.perf_counter() - started, self.processor
