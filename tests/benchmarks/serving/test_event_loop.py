"""`upwell serve` as users start it, and the same on uvloop, in turns in one run.

uv run --with uvloop pytest -m benchmark -s tests/benchmarks/serving/test_event_loop.py
"""

import asyncio
import io
import json
import os
import statistics
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from itertools import count
from pathlib import Path

import aiohttp
import pytest
from tests.support.benchmarks.processor_time import process_seconds
from tests.support.benchmarks.ratios import Ratios
from tests.support.installation.applications import docker_build, stream
from tests.support.installation.installation import Installation, installation, until
from tests.support.registry.docker_registry import push_image
from yarl import URL

from upwell.api.builds.build import Build, BuildPhase
from upwell.api.image import ImageStream
from upwell.oci import Digest

pytestmark = pytest.mark.benchmark

ROUNDS = 10
CLIENTS = 32
GETS = 500
REQUESTS = 2000
WRITES = 600
MIB = 1024 * 1024
BLOB_BYTES = 32 * MIB
OBJECTS = 5000
CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
BUILDS = "/apis/build.openshift.io/v1/namespaces/default/buildconfigs/app/instantiate"
MANIFEST = "/v2/bench/app/manifests/v1"
_ON_UVLOOP = """
import uvloop
from upwell.machine.sockets import event_loop
event_loop.create_event_loop = uvloop.new_event_loop
from upwell.cli import main
main()
"""


@dataclass
class MeasuredApi:
    """A running server, and a session of its own user."""

    server: Installation
    session: aiohttp.ClientSession
    numbers: Iterator[int] = field(default_factory=count)

    @property
    def login(self) -> str:
        return f"Bearer {self.server.token}"

    @property
    def has_uvloop(self) -> bool:
        return "/uvloop/" in Path(f"/proc/{self.server.pid}/maps").read_text()

    def cpu_seconds(self) -> float:
        return process_seconds(self.server.pid)


@asynccontextmanager
async def served(*program: str) -> AsyncIterator[MeasuredApi]:
    def choose(made: Installation) -> None:
        made.program = program or made.program
        made.options = ("--log-level", "info")

    async with installation(prepare=choose) as server:
        headers = {"Authorization": f"Bearer {server.token}", "Content-Type": "application/json"}
        # The server closes what is idle for 5 s, and a request may cross that.
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=1)
        async with aiohttp.ClientSession(
            server.url, connector=connector, headers=headers, raise_for_status=True
        ) as session:
            made = MeasuredApi(server, session)
            await push_image(f"127.0.0.1:{server.port}", "bench/app", "v1", login=made.login)
            await at_once(lambda times: create(made, times), OBJECTS)
            server.commit("app", {"app/Dockerfile": "FROM scratch\nLABEL turn=first\n"})
            async with server.client() as client:
                app = docker_build("app", f"{server.git}/app", base="")
                await server.apply(client, stream("app") + app)
                await until(lambda: client.get(ImageStream, "default", "app"), _is_built)
            yield made


def _is_built(stream: ImageStream) -> bool:
    return stream.status.tag("latest") is not None


async def create(on: MeasuredApi, times: int) -> None:
    for number in (next(on.numbers) for _ in range(times)):
        body = json.dumps({"metadata": {"name": f"item-{number:05}"}, "data": {"text": "x" * 200}})
        async with on.session.post(CONFIG_MAPS, data=body):
            pass


async def ask(on: MeasuredApi, request: str, times: int) -> list[float]:
    """Ask one thing again and again on one connection; return the milliseconds of each answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", on.server.port)
    head = f"{request} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: {on.login}\r\n\r\n".encode()
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        writer.write(head)
        answer = (await reader.readuntil(b"\r\n\r\n")).lower()
        assert b" 200 " in answer[:16], answer
        if not request.startswith("HEAD"):
            length = answer.partition(b"content-length:")[2].partition(b"\r\n")[0]
            await reader.readexactly(int(length))
        taken.append((time.perf_counter() - began) * 1e3)
    writer.close()
    await writer.wait_closed()
    return taken


async def at_once(work: Callable[[int], Awaitable[object]], times: int) -> float:
    """Share `times` among `CLIENTS`; return how many there were in a second."""
    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(CLIENTS):
            group.create_task(_done(work(times // CLIENTS)))
    return times / (time.perf_counter() - began)


async def _done(work: Awaitable[object]) -> None:
    await work


async def gets(on: MeasuredApi) -> dict[str, float]:
    cuts = statistics.quantiles(await ask(on, f"GET {CONFIG_MAPS}/item-00000", GETS), n=100)
    return {"answers": GETS, "p50, ms": cuts[49], "p99, ms": cuts[98]}


def rate(request: str) -> Callable[[MeasuredApi], Awaitable[dict[str, float]]]:
    async def measure(on: MeasuredApi) -> dict[str, float]:
        found = await at_once(lambda times: ask(on, request, times), REQUESTS)
        return {"answers": REQUESTS, "/s": found}

    return measure


async def writes(on: MeasuredApi) -> dict[str, float]:
    return {"answers": WRITES, "/s": await at_once(lambda times: create(on, times), WRITES)}


async def gets_beside_a_build(on: MeasuredApi) -> dict[str, float]:
    """Child processes are started by the event loop, and answers wait meanwhile."""
    number = next(on.numbers)
    on.server.commit("app", {"app/Dockerfile": f"FROM scratch\nLABEL turn={number}\n"})
    call = {"kind": "BuildRequest", "apiVersion": "build.openshift.io/v1"}
    async with on.session.post(BUILDS, json={**call, "metadata": {"name": "app"}}) as answer:
        name = (await answer.json())["metadata"]["name"]
    taken: list[float] = []
    async with on.server.client() as client:
        while (await client.get(Build, "default", name)).status.phase is not BuildPhase.COMPLETE:
            taken += await ask(on, f"GET {CONFIG_MAPS}/item-00000", 50)
    cuts = statistics.quantiles(taken, n=1000)
    return {"answers": len(taken), "p50, ms": cuts[499], "p99.9, ms": cuts[998]}


async def pushes(on: MeasuredApi) -> dict[str, float]:
    content = os.urandom(BLOB_BYTES)
    digest = Digest.of(content)
    began = time.perf_counter()
    async with on.session.post("/v2/bench/app/blobs/uploads/") as answer:
        location = URL(answer.headers["Location"]).update_query(digest=str(digest))
    async with on.session.put(location, data=io.BytesIO(content)):
        pass
    return {"answers": 1, "MiB/s": BLOB_BYTES / MIB / (time.perf_counter() - began)}


MEASURES = {
    f"{GETS} GETs of an object in a row": gets,
    f"{REQUESTS} GETs of an object by {CLIENTS}": rate(f"GET {CONFIG_MAPS}/item-00000"),
    f"{WRITES} creations by {CLIENTS}": writes,
    f"{REQUESTS} HEADs of a manifest by {CLIENTS}": rate(f"HEAD {MANIFEST}"),
    f"{REQUESTS} GETs of a manifest by {CLIENTS}": rate(f"GET {MANIFEST}"),
    "GETs of an object in a row beside a build": gets_beside_a_build,
    f"a push of {BLOB_BYTES // MIB} MiB": pushes,
}


async def test_the_event_loop_of_the_running_server(ratios: Ratios) -> None:
    if find_spec("uvloop") is None:
        pytest.skip("needs uvloop: run with `uv run --with uvloop`")
    async with served() as own, served(sys.executable, "-c", _ON_UVLOOP) as other:
        loops = {"asyncio": own, "uvloop": other}
        assert [on.has_uvloop for on in loops.values()] == [False, True]
        figures: dict[tuple[str, str], dict[str, list[float]]] = {}
        for turn in range(ROUNDS + 1):
            for loop in sorted(loops, reverse=turn % 2 == 0):
                for name, measure in MEASURES.items():
                    before = loops[loop].cpu_seconds()
                    found = await measure(loops[loop])
                    cpu = loops[loop].cpu_seconds() - before
                    found["CPU ms each"] = cpu / found.pop("answers") * 1e3
                    for unit, value in found.items() if turn else ():  # the first warms up
                        of_loop = figures.setdefault((name, unit), {})
                        of_loop.setdefault(loop, []).append(value)
    for (name, unit), of_loop in figures.items():
        ratio = statistics.median(map(float.__truediv__, of_loop["uvloop"], of_loop["asyncio"]))
        medians = ", ".join(f"{loop} {statistics.median(of_loop[loop]):.2f}" for loop in loops)
        print(f"\n{name}, {unit}: {medians}, ratio {ratio:.2f}", end="")  # noqa: T201
        if unit.endswith("/s"):
            ratios.note_speed(f"asyncio, {name}, {unit} of uvloop", 1 / ratio)
        else:
            ratios.note_cost(f"asyncio, {name}, {unit} of uvloop", 1 / ratio)
    assert all(len(values) == ROUNDS for of_loop in figures.values() for values in of_loop.values())
