"""Many BuildConfigs on one base image that changes: how fast, how well foretold, at what cost.

Beside them, in the same run, the same build by hand: a container, a label, a commit, a push.
Run with `pytest -m benchmark -s tests/benchmarks/test_one_base.py`; UPWELL_BUILD_CONFIGS says how
many there are, in place of 300.
"""

import asyncio
import os
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.support.benchmarks.processor_time import (
    listener,
    measured,
    process_seconds,
    tree_seconds,
)
from tests.support.benchmarks.ratios import Ratios
from tests.support.builds.by_hand import timed
from tests.support.installation.applications import base_stream, docker_build, stream
from tests.support.installation.installation import PROGRAM, Installation, installation, until
from tests.support.installation.vendor_images import publish

from upwell.api.builds.build import BUILD_CONFIG_LABEL, Build, BuildPhase
from upwell.api.waves.wave import Wave
from upwell.store.interface import ApiClient, ExpiredError

pytestmark = pytest.mark.benchmark

MANY = 300
CONFIGS = int(os.environ.get("UPWELL_BUILD_CONFIGS", str(MANY)))
CHILDREN = 5
"""BuildConfigs, of these, that stand on another one."""
LIMIT_SECONDS = 3600
BY_HAND = 20
"""Builds by hand: half of them before the change, half of them after it."""
LOOKS = (0.1, 0.25, 0.5)
"""Parts of all builds, after which the Wave is asked for its estimate."""
_DOCKERFILE = "FROM base:1\nLABEL made=again\n"
_PARENT = "parent"


class Ended:
    """Builds in the order in which a watch has seen them complete, by their BuildConfigs."""

    def __init__(self) -> None:
        self.configs: list[str] = []
        self._changed = asyncio.Condition()

    async def watch(self, client: ApiClient) -> None:
        seen: set[str] = set()
        while True:
            with suppress(ExpiredError):  # it fell behind: the next one begins with what there is
                async for event in client.watch(Build):
                    await self._note(event.resource, seen)

    async def _note(self, build: Build, seen: set[str]) -> None:
        if not build.status.phase.is_terminal or build.uid in seen:
            return
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
    async with asyncio.TaskGroup() as tasks:  # a build that failed ends the benchmark
        watching = tasks.create_task(found.watch(client))
        yield found
        watching.cancel()


@pytest.mark.timeout(2 * LIMIT_SECONDS)
async def test_many_builds_on_one_base(tmp_path: Path, ratios: Ratios) -> None:
    async with (
        installation(program=measured(*PROGRAM)) as made,
        made.client() as client,
        _ended(client) as ended,
    ):
        await publish(made.vendor, "vendor/base:1", "1")
        await made.apply(client, base_stream(made.vendor) + _configs())
        await ended.have(CONFIGS)
        ended.configs.clear()
        by_hand = await _by_hand(made.vendor, tmp_path / "before", BY_HAND // 2)
        ours = await _change(made, client, ended)
        by_hand += await _by_hand(made.vendor, tmp_path / "after", BY_HAND // 2)
    hand = statistics.median(by_hand)
    _say(
        f"by hand: {hand:.2f} s of processors ({min(by_hand):.2f} to {max(by_hand):.2f}),"
        f" so a build takes {ours / hand:.2f} of it"
    )
    ratios.note_cost("a build of many on one base, processor of by hand", ours / hand)


async def _by_hand(registry: str, folder: Path, count: int) -> list[float]:
    """Return the processor seconds of each such build by hand, with those of the registry.

    The store has the base when they begin, as the server's has it for all builds but the first.
    """
    await asyncio.to_thread(folder.mkdir)
    buildah = f"buildah --root={folder / 'root'} --runroot={folder / 'run'}"
    base = f"{registry}/vendor/base:1"
    serves = listener(int(registry.rpartition(":")[2]))
    await timed(f"{buildah} pull --quiet --tls-verify=false {base}", folder)
    used = []
    for number in range(count):
        script = f"""
            made=$({buildah} from --pull=never {base})
            {buildah} config --label made=again $made
            image=$({buildah} commit --quiet --rm $made)
            {buildah} push --quiet --tls-verify=false $image docker://{registry}/hand/app-{number}:1
            {buildah} rmi $image
        """
        before = process_seconds(serves)
        used.append(await timed(script, folder) + process_seconds(serves) - before)
    return used


async def _change(made: Installation, client: ApiClient, ended: Ended) -> float:
    """Change the base; return the processor seconds of a build, with all that serves it."""
    server = _child(made.pid)
    used, own = tree_seconds(made.pid), process_seconds(server)
    await publish(made.vendor, "vendor/base:1", "2")
    began, looks = time.monotonic(), []
    first = await until(lambda: _remaining(client), lambda told: told is not None)
    looks.append(("the start", time.monotonic(), first))
    for part in LOOKS:
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
    _say(
        f"processor: {used:.0f} s, {used / CONFIGS:.2f} s a build; of that the server itself"
        f" {own / CONFIGS:.2f} s, what it starts {(used - own) / CONFIGS:.2f} s"
    )
    for when, at, remaining in looks:
        truth = over - at
        told = "nothing" if remaining is None else f"{remaining:.0f} s, {remaining / truth:.2f}"
        _say(f"at {when}: {truth:.0f} s were left; foretold {told}")
    _say(f"what {CHILDREN} stand on ended as number {ended.configs.index(_PARENT) + 1}")
    return used / CONFIGS


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
