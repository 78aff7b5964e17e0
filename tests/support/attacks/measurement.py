"""Measurements of a server under attack: memory above idle, and how soon it answers others."""

import asyncio
import math
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
from tests.support.attacks.attacks import NAMESPACE, Target
from tests.support.installation.installation import Installation

_SAMPLE_SECONDS = 0.05
_TIMEOUT_SECONDS = 20.0


def memory_mib(pid: int) -> float:
    """Return the resident memory of a process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise AssertionError(f"process {pid} has ended")


@dataclass
class AttackMeasurement:
    """Samples that were taken while attacks went on."""

    idle_mib: float
    peak_mib: float = 0.0
    seconds: list[float] = field(default_factory=list)
    """Durations of the requests of a neighbour, connection and all."""
    failures: list[str] = field(default_factory=list)

    @property
    def above_idle_mib(self) -> float:
        return self.peak_mib - self.idle_mib

    def percentile(self, share: float) -> float:
        """Return the seconds within which this share of the requests was answered."""
        ordered = sorted(self.seconds)
        return ordered[min(len(ordered) - 1, math.ceil(share * len(ordered)) - 1)]

    def excesses(self, most_mib: float, most_ms: float) -> list[str]:
        """Return which limits were not held: MiB above idle, milliseconds of a neighbour's p99."""
        found = []
        if self.above_idle_mib > most_mib:
            found.append(f"{self.above_idle_mib:.0f} MiB above idle: at most {most_mib:g}")
        if not self.seconds:
            found.append("no request was answered")
        elif (p99 := self.percentile(0.99) * 1000) > most_ms:
            found.append(f"p99 {p99:.0f} ms: at most {most_ms:g}")
        return found

    def __str__(self) -> str:
        if not self.seconds:
            return f"{self.above_idle_mib:.0f} MiB above idle; no request was answered"
        p50, p99 = (self.percentile(share) * 1000 for share in (0.5, 0.99))
        return (
            f"{self.above_idle_mib:.0f} MiB above {self.idle_mib:.0f};"
            f" {len(self.seconds)} requests, p50 {p50:.0f} ms, p99 {p99:.0f} ms;"
            f" {len(self.failures)} failed"
        )


def attacker_of(made: Installation) -> Target:
    """Return the server as an admin of one namespace attacks it, in which there is nothing else."""
    namespace = f"apiVersion: v1\nkind: Namespace\nmetadata: {{name: {NAMESPACE}}}\n"
    applied = made.upwell("apply", "-f", "-", text=namespace)
    assert applied.returncode == 0, applied.stderr
    answer = made.upwell("token", "create", "attacker", "--grant", f"admin@{NAMESPACE}")
    assert answer.returncode == 0, answer.stderr
    return Target("127.0.0.1", made.port, answer.stdout.strip())


@asynccontextmanager
async def attacked(
    target: Target, pid: int, names: Sequence[str], path: str = "/livez"
) -> AsyncIterator[AttackMeasurement]:
    """Run attacks, each in a process of its own, and measure while the block lasts."""
    found = AttackMeasurement(memory_mib(pid))
    attackers = await _start(target, names)
    sampling = [
        asyncio.create_task(_watch_memory(pid, found)),
        asyncio.create_task(_ask(target, path, found)),
    ]
    try:
        yield found
        assert attackers.returncode is None, "an attack ended by itself, as is told above"
    finally:
        for task in sampling:
            task.cancel()
        with suppress(ProcessLookupError):
            os.killpg(attackers.pid, signal.SIGKILL)
        await attackers.wait()
        await asyncio.gather(*sampling, return_exceptions=True)


async def _start(target: Target, names: Sequence[str]) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.support.attacks.run", target.host, str(target.port)),
        *names,
        env={**os.environ, "ATTACK_TOKEN": target.token},
        start_new_session=True,
    )


async def _watch_memory(pid: int, found: AttackMeasurement) -> None:
    while True:
        found.peak_mib = max(found.peak_mib, memory_mib(pid))
        await asyncio.sleep(_SAMPLE_SECONDS)


async def _ask(target: Target, path: str, found: AttackMeasurement) -> None:
    """Ask on a new connection each time, as somebody who comes now."""
    while True:
        connector = aiohttp.TCPConnector(force_close=True)
        began = time.perf_counter()
        try:
            async with (
                asyncio.timeout(_TIMEOUT_SECONDS),
                aiohttp.ClientSession(target.url, headers=target.login, connector=connector) as one,
                one.get(path) as answer,
            ):
                await answer.read()
                if answer.status != 200:
                    found.failures.append(f"{answer.status}")
        except (aiohttp.ClientError, OSError) as error:
            found.failures.append(repr(error))
        found.seconds.append(time.perf_counter() - began)
        await asyncio.sleep(_SAMPLE_SECONDS)
