"""Cost of the store of one machine: run with `pytest -m benchmark -s tests/benchmarks`.

Beside it, in the same run: rows of the same size that sqlite3 alone writes, each to the disk, and a
bare loop of Python.
"""

import asyncio
import sqlite3
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, closing
from datetime import UTC, datetime
from pathlib import Path
from statistics import quantiles

import pytest
from tests.support.benchmarks.bare_work import loop_seconds
from tests.support.benchmarks.ratios import Ratios

from upwell.api.core import ConfigMap
from upwell.api.meta import ObjectMeta
from upwell.store.interface import Selector, Store
from upwell.store.memory import MemoryStore
from upwell.store.sqlite import SqliteStore

pytestmark = pytest.mark.benchmark

OBJECTS = 10_000
WATCHES = 100


def _now() -> datetime:
    return datetime.now(UTC)


def _item(number: int) -> ConfigMap:
    meta = ObjectMeta(
        name=f"item-{number:05}", namespace="bench", labels={"tens": str(number // 10)}
    )
    return ConfigMap(metadata=meta, data={"text": "x" * 1000})


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    if request.param == "memory":
        yield MemoryStore(_now)
        return
    sqlite = await SqliteStore.open(tmp_path / "bench.db", clock=_now)
    yield sqlite
    await sqlite.close()


async def _fill(store: Store, writers: int, count: int) -> float:
    """Create `count` objects by `writers` tasks; return writes per second."""
    numbers = iter(range(count))

    async def write() -> None:
        for number in numbers:
            await store.create(_item(number))

    started = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(writers):
            group.create_task(write())
    return count / (time.perf_counter() - started)


async def _latencies(work: Callable[[], Awaitable[object]], times: int) -> tuple[float, float]:
    """Return the median and the 99th percentile in microseconds."""
    taken = []
    for _ in range(times):
        started = time.perf_counter()
        await work()
        taken.append((time.perf_counter() - started) * 1e6)
    cuts = quantiles(taken, n=100)
    return cuts[49], cuts[98]


def _bare_writes_per_second(folder: Path, count: int = 300) -> float:
    """Return how many rows of the size of an object sqlite3 commits in a second, one by one."""
    with closing(sqlite3.connect(folder / "bare.db", isolation_level=None)) as bare:
        bare.execute("PRAGMA journal_mode = WAL")
        bare.execute("PRAGMA synchronous = FULL")
        bare.execute("CREATE TABLE item (name TEXT PRIMARY KEY, document TEXT)")
        started = time.perf_counter()
        for number in range(count):
            bare.execute("INSERT INTO item VALUES (?, ?)", (str(number), "x" * 1000))
        return count / (time.perf_counter() - started)


@pytest.mark.parametrize("writers", [1, 16, 128])
async def test_writes_per_second(
    store: Store, writers: int, tmp_path: Path, ratios: Ratios
) -> None:
    rate = await _fill(store, writers, 300 if writers == 1 else 3000)

    print(f"\n{type(store).__name__}: {rate:,.0f} writes/s by {writers} writers")  # noqa: T201
    bare = _bare_writes_per_second(tmp_path)
    ratios.note_speed(f"{type(store).__name__}, {writers} writers, rate of sqlite3", rate / bare)
    assert rate > 20


async def test_reads_among_many_objects(store: Store, ratios: Ratios) -> None:
    await _fill(store, 256, OBJECTS)
    selector = Selector("bench", {"tens": "500"})

    one = await _latencies(lambda: store.get(ConfigMap, "bench", "item-05000"), 1000)
    ten = await _latencies(lambda: store.list(ConfigMap, selector), 100)
    every = await _latencies(lambda: store.list(ConfigMap), 100)

    for name, (half, most) in (("get", one), ("list 10", ten), ("list all", every)):
        print(f"\n{type(store).__name__}: {name} p50 {half:,.0f} us, p99 {most:,.0f} us")  # noqa: T201
        bare = loop_seconds() * 1e3  # microseconds of one turn
        ratios.note_cost(f"{type(store).__name__}, {name}, p50 of a bare loop's turn", half / bare)
    assert one[0] < 1000


async def test_fan_out_to_many_watches(store: Store, ratios: Ratios) -> None:
    changes = 200
    listening = asyncio.Semaphore(0)

    async def observe() -> None:
        async with aclosing(store.watch(ConfigMap, since="0")) as events:
            listening.release()
            for _ in range(changes):
                await anext(events)

    async with asyncio.TaskGroup() as group:
        for _ in range(WATCHES):
            group.create_task(observe())
        for _ in range(WATCHES):
            await listening.acquire()
        started = time.perf_counter()
        await _fill(store, 16, changes)
        written = time.perf_counter()
    seen = time.perf_counter()

    rate = changes * WATCHES / (seen - started)
    print(  # noqa: T201
        f"\n{type(store).__name__}: {rate:,.0f} events/s to {WATCHES} watches,"
        f" the last {1000 * (seen - written):.1f} ms after its write"
    )
    turns = 1e3 / loop_seconds()
    ratios.note_speed(f"{type(store).__name__}, events of a bare loop's turns", rate / turns)
    assert rate > 1000


_OPEN = """
import asyncio, os, sys, time
from datetime import UTC, datetime
from pathlib import Path
from upwell.store.sqlite import SqliteStore

def resident():
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20

async def main():
    before, started, busy = resident(), time.perf_counter(), time.process_time()
    store = await SqliteStore.open(Path(sys.argv[1]), clock=lambda: datetime.now(UTC))
    print(time.perf_counter() - started, time.process_time() - busy, resident() - before)
    await store.close()

asyncio.run(main())
"""


@pytest.mark.parametrize("objects", [OBJECTS, 10 * OBJECTS])
async def test_opening_a_file_with_many_objects(
    tmp_path: Path, objects: int, ratios: Ratios
) -> None:
    path = tmp_path / "bench.db"
    store = await SqliteStore.open(path, clock=_now)
    await _fill(store, 256, objects)
    await store.close()

    argv = (sys.executable, "-c", _OPEN, str(path))
    child = await asyncio.create_subprocess_exec(*argv, stdout=asyncio.subprocess.PIPE)
    output, _ = await child.communicate()
    taken, busy, megabytes = map(float, output.split())

    print(  # noqa: T201
        f"\nopened {objects:,} objects of 1 kB in {taken:.2f} s, {busy:.2f} s of CPU;"
        f" {megabytes * OBJECTS / objects:.0f} MiB for each {OBJECTS:,}"
    )
    title = f"opening {objects:,} objects, each of a bare loop's turn"
    ratios.note_cost(title, busy / objects / (loop_seconds() / 1e3))
    assert busy < 30
