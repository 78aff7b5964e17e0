"""Digests per second that the client resolves, beside what each registry can give in the same run.

That limit is shown by a load generator in C (`ab` of apache2-utils, where it is), and by the least
that Python can do with sockets. Run with
`pytest -m benchmark -s tests/benchmarks/images/test_registry_client.py`.
"""

import asyncio
import os
import shutil
import statistics
import time
from asyncio.subprocess import PIPE
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.support.benchmarks.processor_time import listener, process_seconds
from tests.support.benchmarks.ratios import Ratios
from tests.support.benchmarks.registry_peers import registry_peers
from tests.support.registry.docker_registry import push_image

from upwell.oci import Digest, MediaType, Reference
from upwell.outbound.dialing import unrestricted
from upwell.registry.client.client import RegistryClient
from upwell.registry.hosts import RegistryHost, RegistryHosts, RegistryLimits

REPOSITORIES = 100
TAGS = [str(number) for number in range(10)]
HEADS = REPOSITORIES * len(TAGS)
CONNECTIONS = 64
ROUNDS = 11
CLIENT, SOCKETS, GENERATOR = "client", "bare sockets", "load generator"


@dataclass(frozen=True)
class Cost:
    """Seconds by the clock, and of the processor by either side."""

    wall: float
    client: float
    registry: float


@dataclass(frozen=True)
class CostMeter:
    """Measures requests to the registry that is process `registry`."""

    registry: int

    async def measured(self, work: Callable[[], Awaitable[None]]) -> Cost:
        """Do the work; a program that it starts has ended when it is done."""
        theirs, own, wall = process_seconds(self.registry), own_seconds(), time.perf_counter()
        await work()
        wall, own = time.perf_counter() - wall, own_seconds() - own
        return Cost(wall, own, process_seconds(self.registry) - theirs)


def own_seconds() -> float:
    """Return the processor seconds of this process, and of those that it waited for."""
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system


def expect(digests: Sequence[Digest], expected: Digest) -> None:
    assert digests == [expected] * HEADS


async def with_client(client: RegistryClient, references: list[Reference]) -> list[Digest]:
    found = await asyncio.gather(*(client.resolve(reference) for reference in references))
    return [descriptor.digest for descriptor in found]


async def with_sockets(references: list[Reference]) -> list[Digest]:
    """Do the least that an asyncio client can: no errors, no authentication, no budget."""
    left = iter(references)
    accept = ", ".join(MediaType)

    async def connection() -> list[Digest]:
        host, _, port = references[0].registry.partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        found = []
        for reference in left:
            writer.write(
                f"HEAD /v2/{reference.repository}/manifests/{reference.tag} HTTP/1.1\r\n"
                f"Host: {reference.registry}\r\nAccept: {accept}\r\n\r\n".encode()
            )
            head = await reader.readuntil(b"\r\n\r\n")
            value = head.partition(b"Docker-Content-Digest: ")[2].partition(b"\r\n")[0]
            found.append(Digest.parse(value.decode()))
        writer.close()
        await writer.wait_closed()
        return found

    parts = await asyncio.gather(*(connection() for _ in range(CONNECTIONS)))
    return [digest for part in parts for digest in part]


async def with_generator(registry: str) -> None:
    """Send as many HEADs by a program in C over as many connections."""
    argv = ("ab", "-q", "-i", "-k", "-c", str(CONNECTIONS), "-n", str(HEADS))
    url = f"http://{registry}/v2/team/app0/manifests/0"
    process = await asyncio.create_subprocess_exec(
        *argv, "-H", f"Accept: {', '.join(MediaType)}", url, stdout=PIPE
    )
    told = (await process.communicate())[0].decode()
    assert process.returncode == 0
    assert "Non-2xx" not in told, told


async def compare(registry: str) -> dict[str, list[Cost]]:
    """Resolve all digests by each client in turns."""
    names = [f"team/app{number}" for number in range(REPOSITORIES)]
    images = [await push_image(registry, name, *TAGS) for name in names]
    references = [Reference.parse(f"{registry}/{name}:{tag}") for name in names for tag in TAGS]
    hosts = RegistryHosts([RegistryHost(registry, limits=RegistryLimits(CONNECTIONS))])
    meter = CostMeter(listener(int(registry.rpartition(":")[2])))
    async with RegistryClient(unrestricted(), hosts) as client:

        async def by_client() -> None:
            expect(await with_client(client, references), images[0].digest)

        async def by_sockets() -> None:
            expect(await with_sockets(references), images[0].digest)

        works = {CLIENT: by_client, SOCKETS: by_sockets}
        if shutil.which("ab"):
            works[GENERATOR] = lambda: with_generator(registry)
        costs: dict[str, list[Cost]] = {name: [] for name in works}
        for round_ in range(ROUNDS + 1):
            for name, work in works.items():
                cost = await meter.measured(work)
                if round_:  # the first connects, and warms what is read
                    costs[name].append(cost)
    return costs


@pytest.mark.benchmark
async def test_heads_per_second(tmp_path: Path, ratios: Ratios) -> None:
    async with registry_peers(tmp_path) as peers:
        for peer, host in peers.items():
            tell(peer, await compare(host), ratios)


def tell(peer: str, costs: Mapping[str, Sequence[Cost]], ratios: Ratios) -> None:
    """Print what each client took, and note the ratios of ours."""
    for name, rounds in costs.items():
        low, middle, high = statistics.quantiles(HEADS / cost.wall for cost in rounds)
        of_it = [
            ours.wall / theirs.wall for ours, theirs in zip(costs[CLIENT], rounds, strict=True)
        ]
        lower, half, upper = statistics.quantiles(1 / ratio for ratio in of_it)
        print(  # noqa: T201 - the result of a benchmark
            f"\n{peer}, {name}: {middle:.0f} HEADs/s ({low:.0f} to {high:.0f}),"
            f" processor {statistics.median(cost.client for cost in rounds):.3f} s,"
            f" registry's {statistics.median(cost.registry for cost in rounds):.3f} s;"
            f" client reaches {half:.2f} ({lower:.2f} to {upper:.2f}) of it"
        )
        if name != CLIENT:
            ratios.note_cost(f"HEADs of {peer}, time of {name}", statistics.median(of_it))
    pairs = zip(costs[CLIENT], costs[SOCKETS], strict=True)
    used = statistics.median(ours.client / bare.client for ours, bare in pairs)
    ratios.note_cost(f"HEADs of {peer}, processor of {SOCKETS}", used)
