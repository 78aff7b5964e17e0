"""The registry of a running `upwell serve` beside Debian's docker-registry, in turns, in one run.

pytest -m benchmark -s tests/benchmarks/test_embedded_registry.py
"""

import asyncio
import io
import os
import statistics
import subprocess
import sys
import time
from asyncio.subprocess import PIPE
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import aiohttp
import pytest
from tests.support.benchmarks.processor_time import process_seconds
from tests.support.benchmarks.ratios import Ratios
from tests.support.installation.installation import installation
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


@dataclass(frozen=True)
class ApiMeter:
    """Asks the API for a list, one time after the other."""

    session: aiohttp.ClientSession
    url: str

    async def milliseconds(self, goes_on: Callable[[], bool]) -> list[float]:
        """Return how long each answer took while `goes_on` says so."""
        found = []
        while goes_on():
            began = time.perf_counter()
            async with self.session.get(self.url) as answer:
                await answer.read()
            assert answer.status == 200
            found.append((time.perf_counter() - began) * 1000)
            await asyncio.sleep(API_PAUSE)
        return found


@dataclass(frozen=True)
class Served:
    """Pushes and pulls that a server served for a while."""

    pushed: float
    """MiB a second, as `pulled`."""
    pulled: float
    cpu: float
    """Processor seconds for a GiB of both."""
    answers: Sequence[float] = ()
    """Milliseconds of GETs of the API meanwhile."""

    @property
    def moved(self) -> float:
        """MiB a second of both."""
        return self.pushed + self.pulled


def listener(host: str) -> int:
    """Return the process that serves a port of this machine."""
    port = host.rpartition(":")[2]
    found = subprocess.run(
        ["lsof", "-t", "-sTCP:LISTEN", f"-iTCP:{port}"], check=True, capture_output=True, timeout=60
    )
    return int(found.stdout)


async def served(host: str, token: str, api: ApiMeter | None = None, each: int = MANY) -> Served:
    """Have a server pushed to and pulled from by so many clients each."""
    pid = listener(host)
    used = process_seconds(pid)
    clients = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.support.benchmarks.registry_load", host, token),
        *(str(LOAD_SECONDS), str(each)),
        stdout=PIPE,
    )
    told = asyncio.create_task(clients.communicate())
    answers = [] if api is None else await api.milliseconds(lambda: not told.done())
    pushed, pulled = map(float, (await told)[0].split())
    assert clients.returncode == 0
    used = process_seconds(pid) - used
    return Served(pushed, pulled, used / ((pushed + pulled) * LOAD_SECONDS / 1024), answers)


async def test_sixteen_push_while_sixteen_pull(ratios: Ratios) -> None:
    async with installation() as made:
        url = f"http://127.0.0.1:{made.port}/api/v1/namespaces/default/serviceaccounts"
        login = {"Authorization": f"Bearer {made.token}"}
        async with aiohttp.ClientSession(headers=login) as session:
            api = ApiMeter(session, url)
            end = time.perf_counter() + LOAD_SECONDS
            alone = await api.milliseconds(lambda: time.perf_counter() < end)
            ours, theirs = [], []
            host = f"127.0.0.1:{made.port}"
            for _ in range(MANY_ROUNDS):
                ours.append(await served(host, made.token))
                theirs.append(await served(made.vendor, made.token))
            # Rounds more: the API takes its part of them.
            beside = await served(host, made.token, api)
            beside_half = await served(host, made.token, api, MANY // 2)
    for title, found in (("upwell serve", ours), ("docker-registry", theirs)):
        for one in found:
            write(
                f"{title}: {one.pushed:.0f} MiB/s pushed, {one.pulled:.0f} pulled,"
                f" {one.cpu:.2f} s of processor a GiB"
            )
    for title, answers in (
        ("alone", alone),
        ("beside eight that push and eight that pull", beside_half.answers),
        ("beside sixteen and sixteen", beside.answers),
    ):
        p99 = statistics.quantiles(answers, n=100)[98]
        write(f"API GET {title}: p50 {statistics.median(answers):.1f}, p99 {p99:.1f} ms")
    pairs = list(zip(ours, theirs, strict=True))
    speed = statistics.median(a.moved / b.moved for a, b in pairs)
    cost = statistics.median(a.cpu / b.cpu for a, b in pairs)
    write(f"of docker-registry's: {speed:.2f} of the rate, {cost:.2f} of the processor time")
    ratios.note_speed("embedded registry, 16 push and 16 pull, MiB/s", speed)
    ratios.note_cost("embedded registry, 16 push and 16 pull, processor", cost)


def write(line: str) -> None:
    """Print a result."""
    sys.stdout.write(f"{line}\n")
