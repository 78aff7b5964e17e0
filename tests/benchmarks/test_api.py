"""Cost of the API of a real server: run with `pytest -m benchmark -s tests/benchmarks`."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from statistics import median, quantiles

import aiohttp
import pytest
from tests.support.benchmarks.bare_work import bare_answers, percentile_99
from tests.support.benchmarks.ratios import Ratios
from tests.support.installation.installation import installation

pytestmark = pytest.mark.benchmark

OBJECTS = 10_000
WATCHES = 100
WRITERS = 32
WRITES = 3000
PATH = "/api/v1/namespaces/default/configmaps"
SECONDS = 300
BARE_ANSWERS = 300
"""Of a server that does nothing, which the times are compared with."""


@pytest.fixture
async def api() -> AsyncIterator[aiohttp.ClientSession]:
    async with installation() as made:
        headers = {"Authorization": f"Bearer {made.token}", "Content-Type": "application/json"}
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(
            made.url, connector=connector, headers=headers, raise_for_status=True
        ) as session:
            yield session


def item(number: int) -> bytes:
    metadata = {"name": f"item-{number:05}", "labels": {"tens": str(number // 10)}}
    return json.dumps({"metadata": metadata, "data": {"text": "x" * 200}}).encode()


async def fill(api: aiohttp.ClientSession, count: int) -> float:
    """Create objects by `WRITERS` clients; return writes per second."""
    numbers = iter(range(count))

    async def write() -> None:
        for number in numbers:
            async with api.post(PATH, data=item(number)):
                pass

    started = time.perf_counter()
    async with asyncio.timeout(SECONDS), asyncio.TaskGroup() as group:
        for _ in range(WRITERS):
            group.create_task(write())
    return count / (time.perf_counter() - started)


async def latencies(work: Callable[[], Awaitable[object]], times: int) -> tuple[float, float]:
    """Return the median and the 99th percentile in milliseconds."""
    taken = []
    for _ in range(times):
        started = time.perf_counter()
        await work()
        taken.append((time.perf_counter() - started) * 1e3)
    cuts = quantiles(taken, n=100)
    return cuts[49], cuts[98]


async def test_reads_and_watches_among_many_objects(
    api: aiohttp.ClientSession, ratios: Ratios
) -> None:
    print(f"\n{await fill(api, OBJECTS):,.0f} creations/s by {WRITERS} clients")  # noqa: T201

    async def read(query: str) -> None:
        async with api.get(f"{PATH}{query}") as answer:
            await answer.read()

    bare = await bare_answers(BARE_ANSWERS)

    def note(name: str, half: float, most: float) -> None:
        print(f"{name}: p50 {half:.1f} ms, p99 {most:.1f} ms")  # noqa: T201
        ratios.note_cost(f"API, {name}, p50 of bare answers", half / median(bare))
        ratios.note_cost(f"API, {name}, p99 of bare answers", most / percentile_99(bare))

    for name, query, times in (
        ("get", "/item-05000", 300),
        ("list 10 by label", "?labelSelector=tens%3D500", 100),
        ("list a page of 500", "?limit=500", 30),
        ("list all", "", 10),
    ):
        half, most = await latencies(lambda query=query: read(query), times)  # type: ignore[misc]
        note(name, half, most)
    async with api.get(f"{PATH}?limit=1") as answer:
        version = (await answer.json())["metadata"]["resourceVersion"]
    async with api.get(f"{PATH}?watch=true&resourceVersion={version}") as stream:

        async def change() -> None:
            patch = json.dumps({"data": {"text": str(time.perf_counter())}}).encode()
            kind = {"Content-Type": "application/merge-patch+json"}
            async with api.patch(f"{PATH}/item-00007", data=patch, headers=kind):
                pass
            await stream.content.readline()

        half, most = await latencies(change, 300)
    note("write to event", half, most)
    assert half < 1000


async def test_many_watches_miss_nothing(api: aiohttp.ClientSession, ratios: Ratios) -> None:
    async with api.get(f"{PATH}?limit=1") as answer:
        version = (await answer.json())["metadata"]["resourceVersion"]
    seen = [0] * WATCHES

    async def follow(number: int, stream: aiohttp.ClientResponse) -> None:
        while seen[number] < WRITES:
            chunk = await stream.content.readany()
            assert chunk, f"watch {number} ended after {seen[number]} events"
            seen[number] += chunk.count(b"\n")

    async with AsyncExitStack() as stack:
        streams = [
            await stack.enter_async_context(api.get(f"{PATH}?watch=true&resourceVersion={version}"))
            for _ in range(WATCHES)
        ]
        async with asyncio.timeout(SECONDS), asyncio.TaskGroup() as group:
            for number, stream in enumerate(streams):
                group.create_task(follow(number, stream))
            started = time.perf_counter()
            rate = await fill(api, WRITES)
        taken = time.perf_counter() - started
    bare = median(await bare_answers(BARE_ANSWERS)) / 1e3
    ratios.note_cost("API, a write with 100 watches, bare answers", 1 / rate / bare)
    event = taken / (WRITES * WATCHES)
    ratios.note_cost("API, an event to one of 100 watches, bare answers", event / bare)
    print(  # noqa: T201
        f"\n{rate:,.0f} writes/s with {WATCHES} watches;"
        f" {WRITES * WATCHES / taken:,.0f} events/s, none missed"
    )
    assert seen == [WRITES] * WATCHES
