"""Many BuildConfigs on one base image that changes: how fast, how well foretold, at what cost.

Run with `pytest -m benchmark -s tests/benchmarks/test_one_base.py`; UPWELL_BUILD_CONFIGS says how
many there are, in place of 300.
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.support.benchmarks.processor_time import measured, process_seconds, tree_seconds
from tests.support.installation.applications import base_stream, docker_build, stream
from tests.support.installation.installation import PROGRAM, Installation, installation, until
from tests.support.installation.vendor_images import publish

from upwell.api.build import BUILD_CONFIG_LABEL, Build, BuildPhase
from upwell.api.waves.wave import Wave
from upwell.store.interface import ApiClient

pytestmark = pytest.mark.benchmark

MANY = 300
CONFIGS = int(os.environ.get("UPWELL_BUILD_CONFIGS", str(MANY)))
CHILDREN = 5
"""BuildConfigs, of these, that stand on another one."""
LIMIT_SECONDS = 3600
_DOCKERFILE = "FROM base:1\nLABEL made=again\n"
_PARENT = "parent"


class Ended:
    """Builds in the order in which a watch has seen them complete, by their BuildConfigs."""

    def __init__(self) -> None:
        self.configs: list[str] = []
        self._changed = asyncio.Condition()

    async def watch(self, client: ApiClient) -> None:
        seen = set()
        async for event in client.watch(Build):
            build = event.resource
            if build.status.phase.is_terminal and build.uid not in seen:
                assert build.status.phase is BuildPhase.COMPLETE, build.status
                seen.add(build.uid)
                async with self._changed:
                    self.configs.append(build.labels[BUILD_CONFIG_LABEL])
                    self._changed.notify_all()

    async def have(self, count: int) -> None:
        """Wait until so many have ended."""
        async with asyncio.timeout(LIMIT_SECONDS), self._changed:
            await self._changed.wait_for(lambda: len(self.configs) >= count)


@asynccontextmanager
async def _ended(client: ApiClient) -> AsyncIterator[Ended]:
    found = Ended()
    watching = asyncio.create_task(found.watch(client))
    try:
        yield found
    finally:
        watching.cancel()
        await asyncio.wait([watching])


async def test_many_builds_on_one_base() -> None:
    async with (
        installation(program=measured(*PROGRAM)) as made,
        made.client() as client,
        _ended(client) as ended,
    ):
        await publish(made.vendor, "vendor/base:1", "1")
        await made.apply(client, base_stream(made.vendor) + _configs())
        await ended.have(CONFIGS)
        ended.configs.clear()
        await _change(made, client, ended)


async def _change(made: Installation, client: ApiClient, ended: Ended) -> None:
    server = _child(made.pid)
    used, own = tree_seconds(made.pid), process_seconds(server)
    await publish(made.vendor, "vendor/base:1", "2")
    began, looks = time.monotonic(), []
    first = await until(lambda: _remaining(client), lambda told: told is not None)
    looks.append(("the start", time.monotonic(), first))
    for part in (0.1, 0.5):
        await ended.have(int(CONFIGS * part))
        looks.append((f"{part:.0%}", time.monotonic(), await _remaining(client)))
    await ended.have(CONFIGS)
    over = time.monotonic()
    took, used, own = over - began, tree_seconds(made.pid) - used, process_seconds(server) - own
    _say(
        f"\n{CONFIGS} BuildConfigs on one base: {took:.0f} s, {CONFIGS / took:.2f} builds a second"
    )
    if CONFIGS < MANY:
        _say(f"so {MANY} would take {took / CONFIGS * MANY:.0f} s, at that pace")
    _say(f"processor: {used:.0f} s, {used / CONFIGS:.2f} s a build; the server itself {own:.0f} s")
    for when, at, remaining in looks:
        truth = over - at
        told = "nothing" if remaining is None else f"{remaining:.0f} s, {remaining / truth:.2f}"
        _say(f"at {when}: {truth:.0f} s were left; foretold {told}")
    _say(f"what {CHILDREN} stand on ended as number {ended.configs.index(_PARENT) + 1}")


def _child(pid: int) -> int:
    """Return the server below the process that measures it."""
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


async def _remaining(client: ApiClient) -> float | None:
    """Return the seconds until the end that the Wave foretells."""
    running = [wave for wave in (await client.list(Wave)).items if wave.status.ended is None]
    ends = [wave.status.estimated_end for wave in running if wave.status.estimated_end is not None]
    return max(((end - datetime.now(UTC)).total_seconds() for end in ends), default=None)


def _configs() -> str:
    on_base = [f"app-{number}" for number in range(CONFIGS - CHILDREN - 1)]
    objects = [docker_build(name, dockerfile=_DOCKERFILE) for name in (*on_base, _PARENT)]
    children = [f"child-{number}" for number in range(CHILDREN)]
    above = f"{_PARENT}:latest"
    objects += [
        docker_build(name, base=above, dockerfile=f"FROM {above}\nLABEL made=above\n")
        for name in children
    ]
    return "".join(map(stream, (*on_base, _PARENT, *children))) + "".join(objects)


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201  # a benchmark's result
