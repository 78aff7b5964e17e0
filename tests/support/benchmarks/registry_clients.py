"""Rates at which a registry serves many clients at once, and the processor time that it takes."""

import asyncio
import statistics
import sys
from asyncio.subprocess import PIPE
from collections.abc import Iterable
from dataclasses import dataclass

from tests.support.benchmarks.processor_time import listener, process_seconds


@dataclass(frozen=True)
class RegistryRates:
    """Pushes and pulls that a server served for a while."""

    pushed: float
    """MiB a second, as `pulled`."""
    pulled: float
    cpu: float
    """Processor seconds for a GiB of both."""

    @property
    def moved(self) -> float:
        """MiB a second of both."""
        return self.pushed + self.pulled


async def load(
    host: str, token: str, seconds: float, each: int, mib: int = 1
) -> tuple[float, float]:
    """Push and pull as so many clients each, in another process; return MiB a second of both.

    `mib` is the size of each blob in MiB.
    """
    clients = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.support.benchmarks.registry_load", host, token),
        *(str(seconds), str(each), str(mib)),
        stdout=PIPE,
    )
    pushed, pulled = map(float, (await clients.communicate())[0].split())
    assert clients.returncode == 0
    return pushed, pulled


async def served(host: str, token: str, seconds: float, each: int, mib: int = 1) -> RegistryRates:
    """Have a server pushed to and pulled from by so many clients each."""
    pid = listener(int(host.rpartition(":")[2]))
    used = process_seconds(pid)
    pushed, pulled = await load(host, token, seconds, each, mib)
    used = process_seconds(pid) - used
    return RegistryRates(pushed, pulled, used / ((pushed + pulled) * seconds / 1024))


def spread(values: Iterable[float], digits: int = 0) -> str:
    """Return the median with its quartiles."""
    low, middle, high = statistics.quantiles(values)
    return f"{middle:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"
