"""The registry of a running `upwell serve` beside Debian's docker-registry, in turns, in one run.

pytest -m benchmark -s tests/benchmarks/test_embedded_registry.py
"""

import asyncio
import io
import os
import statistics
import sys
import time
from asyncio.subprocess import PIPE
from collections.abc import Awaitable, Callable

import aiohttp
import pytest
from tests.support.benchmarks.ratios import Ratios
from tests.support.installation.installation import installation
from tests.support.registry.docker_registry import push_image

from upwell.oci import Digest

pytestmark = pytest.mark.benchmark

ROUNDS = 5
HEADS = 2000
CONNECTIONS = 32
MIB = 1024 * 1024
BLOB_BYTES = 64 * MIB
API_REQUESTS, API_PAUSE = 400, 0.02

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
async def test_against_docker_registry(measure: Measure, unit: str, ratios: Ratios) -> None:
    async with installation("--log-level", "info") as made:
        theirs, ours = made.vendor, f"127.0.0.1:{made.port}"
        login = f"Bearer {made.token}"  # docker-registry does not look at it
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=CONNECTIONS), headers={"Authorization": login}
        ) as session:
            figures: dict[str, list[float]] = {theirs: [], ours: []}
            for host in figures:
                await push_image(host, "bench/app", "v1", login=login)
                await measure(session, host)  # warm
            for _ in range(ROUNDS):
                for host, found in figures.items():
                    found.append(await measure(session, host))
            median = {host: statistics.median(found) for host, found in figures.items()}
            print(  # noqa: T201 - the figures are the result
                f"\n{unit}: embedded {median[ours]:.0f}, docker-registry {median[theirs]:.0f},"
                f" ratio {median[ours] / median[theirs]:.2f} (medians of {ROUNDS})"
            )
            ratios.note_speed(f"embedded registry, {unit}", median[ours] / median[theirs])
            assert min(figures[ours]) > 0


async def test_the_api_while_clients_push_and_pull() -> None:
    async with installation() as made:
        login = {"Authorization": f"Bearer {made.token}"}
        url = f"http://127.0.0.1:{made.port}/api/v1/namespaces/default/serviceaccounts"
        async with aiohttp.ClientSession(headers=login) as session:
            alone = await api_milliseconds(session, url)
            command = ("-m", "tests.support.benchmarks.registry_load", url.split("/")[2])
            seconds = API_REQUESTS * API_PAUSE * 2
            clients = await asyncio.create_subprocess_exec(
                *(sys.executable, *command, made.token, str(seconds)), stdout=PIPE
            )
            beside = await api_milliseconds(session, url)
            is_under_load = clients.returncode is None
            rate = (await clients.communicate())[0].decode().strip()
    for title, found in (("alone", alone), (f"beside {rate} MiB/s", beside)):
        p99 = statistics.quantiles(found, n=100)[98]
        print(f"\nAPI GET {title}: p50 {statistics.median(found):.1f}, p99 {p99:.1f} ms")  # noqa: T201 - the result
    assert is_under_load


async def api_milliseconds(session: aiohttp.ClientSession, url: str) -> list[float]:
    found = []
    for _ in range(API_REQUESTS):
        began = time.perf_counter()
        async with session.get(url) as answer:
            await answer.read()
        assert answer.status == 200
        found.append((time.perf_counter() - began) * 1000)
        await asyncio.sleep(API_PAUSE)
    return found
