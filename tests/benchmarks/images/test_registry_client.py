"""Digests per second that the client resolves, beside a bare socket client in the same run.

Run with `pytest -m benchmark -s tests/benchmarks/images/test_registry_client.py`.
"""

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.support.benchmarks.ratios import Ratios
from tests.support.registry.docker_registry import docker_registry, push_image

from upwell.oci import Digest, MediaType, Reference
from upwell.outbound.dialing import unrestricted
from upwell.registry.client.client import RegistryClient
from upwell.registry.hosts import RegistryHost, RegistryHosts, RegistryLimits

REPOSITORIES = 100
TAGS = [str(number) for number in range(10)]
CONNECTIONS = 64
ROUNDS = 5


@dataclass(frozen=True)
class Cost:
    wall: float
    cpu: float


async def measured(work: Callable[[], Awaitable[list[Digest]]], expected: Digest) -> Cost:
    wall, cpu = time.perf_counter(), time.process_time()
    digests = await work()
    cost = Cost(time.perf_counter() - wall, time.process_time() - cpu)
    assert digests == [expected] * (REPOSITORIES * len(TAGS))
    return cost


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


async def compare(folder: Path) -> dict[str, list[Cost]]:
    costs: dict[str, list[Cost]] = {"client": [], "bare sockets": []}
    async with docker_registry(folder) as registry:
        names = [f"team/app{number}" for number in range(REPOSITORIES)]
        images = [await push_image(registry, name, *TAGS) for name in names]
        references = [Reference.parse(f"{registry}/{name}:{tag}") for name in names for tag in TAGS]
        hosts = RegistryHosts([RegistryHost(registry, limits=RegistryLimits(CONNECTIONS))])
        async with RegistryClient(unrestricted(), hosts) as client:
            for _ in range(ROUNDS):
                for name, work in (
                    ("client", lambda: with_client(client, references)),
                    ("bare sockets", lambda: with_sockets(references)),
                ):
                    costs[name].append(await measured(work, images[0].digest))
    return costs


@pytest.mark.benchmark
async def test_heads_per_second(tmp_path: Path, ratios: Ratios) -> None:
    costs = await compare(tmp_path)
    print()  # noqa: T201 - the result of a benchmark
    for name, rounds in costs.items():
        wall = statistics.median(cost.wall for cost in rounds)
        cpu = statistics.median(cost.cpu for cost in rounds)
        print(  # noqa: T201
            f"{name:13} {REPOSITORIES * len(TAGS) / wall:7.0f} digests/s"
            f"  wall {wall:.3f} s  cpu {cpu:.3f} s"
        )
    assert all(len(rounds) == ROUNDS for rounds in costs.values())
    pairs = list(zip(costs["client"], costs["bare sockets"], strict=True))
    ratios.note_cost("HEADs, time", statistics.median(a.wall / b.wall for a, b in pairs))
    ratios.note_cost("HEADs, processor", statistics.median(a.cpu / b.cpu for a, b in pairs))
