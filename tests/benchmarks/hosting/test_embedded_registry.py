"""The registry of a running `upwell serve` beside docker-registry and distribution 3, in turns.

pytest -m benchmark -s tests/benchmarks/hosting/test_embedded_registry.py
"""

import asyncio
import io
import os
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest
from tests.support.benchmarks.ratios import Ratios
from tests.support.benchmarks.registry_clients import RegistryRates, load, served, spread
from tests.support.benchmarks.registry_peers import registry_peers
from tests.support.installation.installation import Installation, installation
from tests.support.registry.docker_registry import push_image

from upwell.oci import Digest

pytestmark = pytest.mark.benchmark

ROUNDS = 5
MANY, MANY_ROUNDS = 16, 3
HEADS = 2000
CONNECTIONS = 32
MIB = 1024 * 1024
BLOB_BYTES = 64 * MIB
LOAD_SECONDS = 10.0
API_PAUSE = 0.02
OURS = "upwell serve"
ALONE = "alone"
CLIENTS = {ALONE: 0, "beside 8 that push and 8 that pull": 8, "beside 16 and 16": 16}

type Measure = Callable[[aiohttp.ClientSession, str], Awaitable[float]]


async def heads_per_second(session: aiohttp.ClientSession, host: str) -> float:
    url = f"http://{host}/v2/bench/app/manifests/v1"
    accept = {"Accept": "application/vnd.oci.image.manifest.v1+json"}

    async def ask() -> None:
        for _ in range(HEADS // CONNECTIONS):
            async with session.head(url, headers=accept) as answer:
                assert answer.status == 200

    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(CONNECTIONS):
            group.create_task(ask())
    return HEADS / (time.perf_counter() - began)


async def pushed_mib_per_second(session: aiohttp.ClientSession, host: str) -> float:
    content = os.urandom(BLOB_BYTES)
    digest = str(Digest.of(content))
    began = time.perf_counter()
    async with session.post(f"http://{host}/v2/bench/app/blobs/uploads/") as answer:
        location = answer.headers["Location"]
    target = location if location.startswith("http") else f"http://{host}{location}"
    joint = "&" if "?" in target else "?"
    async with session.put(f"{target}{joint}digest={digest}", data=io.BytesIO(content)) as answer:
        assert answer.status == 201
    return BLOB_BYTES / MIB / (time.perf_counter() - began)


async def pulled_mib_per_second(session: aiohttp.ClientSession, host: str) -> float:
    content = bytes(BLOB_BYTES)
    digest = Digest.of(content)
    url = f"http://{host}/v2/bench/app/blobs/{digest}"
    async with session.head(url) as answer:
        known = answer.status == 200
    if not known:
        async with session.post(f"http://{host}/v2/bench/app/blobs/uploads/") as answer:
            location = answer.headers["Location"]
        target = location if location.startswith("http") else f"http://{host}{location}"
        joint = "&" if "?" in target else "?"
        async with session.put(
            f"{target}{joint}digest={digest}", data=io.BytesIO(content)
        ) as answer:
            assert answer.status == 201
    began = time.perf_counter()
    pulled = 0
    async with session.get(url) as answer:
        async for chunk in answer.content.iter_any():
            pulled += len(chunk)
    assert pulled == BLOB_BYTES
    return BLOB_BYTES / MIB / (time.perf_counter() - began)


@pytest.mark.parametrize(
    ("measure", "unit"),
    [
        (heads_per_second, "HEAD/s"),
        (pushed_mib_per_second, "MiB/s pushed"),
        (pulled_mib_per_second, "MiB/s pulled"),
    ],
)
async def test_against_other_registries(
    measure: Measure, unit: str, tmp_path: Path, ratios: Ratios
) -> None:
    async with installation("--log-level", "info") as made, registry_peers(tmp_path) as peers:
        hosts = {OURS: f"127.0.0.1:{made.port}", **peers}
        login = f"Bearer {made.token}"  # the others do not look at it
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=CONNECTIONS), headers={"Authorization": login}
        ) as session:
            for host in hosts.values():
                await push_image(host, "bench/app", "v1", login=login)
                await measure(session, host)  # warm
            figures: dict[str, list[float]] = {name: [] for name in hosts}
            for _ in range(ROUNDS):
                for name, host in hosts.items():
                    figures[name].append(await measure(session, host))
    ours = figures.pop(OURS)
    write(f"\n{unit}: {OURS} {spread(ours)} (quartiles of {ROUNDS})")
    for name, found in figures.items():
        by_turn = [one / other for one, other in zip(ours, found, strict=True)]
        write(f"  {name} {spread(found)}: ratio {spread(by_turn, 2)}")
        ratios.note_speed(f"embedded registry, {unit} of {name}", statistics.median(by_turn))


@dataclass(frozen=True)
class ApiMeter:
    """Asks the API for a list, one time after the other."""

    session: aiohttp.ClientSession
    url: str

    async def milliseconds(self, beside: asyncio.Task[None]) -> list[float]:
        """Return how long each answer took until `beside` is done."""
        found = []
        while not beside.done():
            began = time.perf_counter()
            async with self.session.get(self.url) as answer:
                await answer.read()
            assert answer.status == 200
            found.append((time.perf_counter() - began) * 1000)
            await asyncio.sleep(API_PAUSE)
        return found


async def busy(server: Installation, each: int) -> None:
    """Let so many clients of each sort push and pull, or none."""
    if each:
        await load(f"127.0.0.1:{server.port}", server.token, LOAD_SECONDS, each)
    else:
        await asyncio.sleep(LOAD_SECONDS)


async def test_sixteen_push_while_sixteen_pull(tmp_path: Path, ratios: Ratios) -> None:
    async with installation() as made, registry_peers(tmp_path) as peers:
        host = f"127.0.0.1:{made.port}"
        hosts = {OURS: host, **peers}
        moved: dict[str, list[RegistryRates]] = {name: [] for name in hosts}
        for _ in range(MANY_ROUNDS):
            for name, one in hosts.items():
                moved[name].append(await served(one, made.token, LOAD_SECONDS, MANY))
    for name, found in moved.items():
        pushed, pulled, cpu = (
            spread([one.pushed for one in found]),
            spread([one.pulled for one in found]),
            spread([one.cpu for one in found], 2),
        )
        write(f"{name}: {pushed} MiB/s pushed, {pulled} pulled, {cpu} s of processor a GiB")
    ours = moved.pop(OURS)
    for name, found in moved.items():
        speed = [a.moved / b.moved for a, b in zip(ours, found, strict=True)]
        cost = [a.cpu / b.cpu for a, b in zip(ours, found, strict=True)]
        write(f"of {name}'s: {spread(speed, 2)} of the rate, {spread(cost, 2)} of the processor")
        title = f"embedded registry, 16 push and 16 pull, % of {name}"
        ratios.note_speed(title.replace("%", "MiB/s"), statistics.median(speed))
        ratios.note_cost(title.replace("%", "processor"), statistics.median(cost))


async def test_the_api_answers_beside_clients_of_the_registry(ratios: Ratios) -> None:
    found: dict[str, list[Sequence[float]]] = {title: [] for title in CLIENTS}
    async with installation() as made:
        url = f"http://127.0.0.1:{made.port}/api/v1/namespaces/default/serviceaccounts"
        login = {"Authorization": f"Bearer {made.token}"}
        async with aiohttp.ClientSession(headers=login) as session:
            api = ApiMeter(session, url)
            for _ in range(ROUNDS):
                for title, each in CLIENTS.items():
                    beside = asyncio.create_task(busy(made, each))
                    found[title].append(await api.milliseconds(beside))
                    await beside
    p99 = {
        title: [statistics.quantiles(one, n=100)[98] for one in runs]
        for title, runs in found.items()
    }
    for title, runs in found.items():
        middle = spread([statistics.median(one) for one in runs], 1)
        write(f"API GET {title}: p50 {middle}, p99 {spread(p99[title], 1)} ms ({ROUNDS} runs)")
    for title in list(CLIENTS)[1:]:
        slower = statistics.median(a / b for a, b in zip(p99[title], p99[ALONE], strict=True))
        ratios.note_cost(f"API GET {title}, p99 of alone", slower)


def write(line: str) -> None:
    """Print a result."""
    sys.stdout.write(f"{line}\n")
