"""HEAD requests and processor time of imports by a running server.

UPWELL_BESIDE names the Python of another version's environment, whose server is measured at the
same time. Run with `pytest -m benchmark -s tests/benchmarks/images/test_import_rate.py`.
"""

import asyncio
import json
import os
import re
import sys
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles
from typing import Any, Self

import aiohttp
import pytest
from tests.benchmarks.images.test_registry_client import with_sockets
from tests.support.benchmarks.measured_server import MeasuredServer
from tests.support.benchmarks.ratios import Ratios
from tests.support.installation.installation import Installation, installation, until
from tests.support.registry.docker_registry import CONFIG, docker_registry, push_image

from upwell.oci import Reference

pytestmark = pytest.mark.benchmark

STREAMS, TAGS = 100, 10
INTERVAL_SECONDS = 20
ROUNDS = 9
PROGRAMS = [sys.executable, *filter(None, [os.environ.get("UPWELL_BESIDE", "")])]
STREAMS_PATH = "/apis/image.openshift.io/v1/namespaces/default/imagestreams"


def stream(host: str, number: int) -> dict[str, Any]:
    tags = [
        {
            "name": f"t{tag}",
            "from": {"kind": "DockerImage", "name": f"{host}/team/app{number}:t{tag}"},
            "importPolicy": {"scheduled": True},
        }
        for tag in range(TAGS)
    ]
    return {"metadata": {"name": f"app{number}", "namespace": "default"}, "spec": {"tags": tags}}


def config(number: int) -> bytes:
    """The configuration of an image of its own for each repository."""
    return json.dumps({**json.loads(CONFIG), "author": str(number)}).encode()


@dataclass(frozen=True)
class Requests:
    """Requests that a registry was sent."""

    heads: int
    manifests: int
    blobs: int

    @classmethod
    def logged(cls, log: Path) -> Self:
        text = log.read_text()
        return cls(
            len(re.findall(r'"HEAD /v2/\S+/manifests/', text)),
            len(re.findall(r'"GET /v2/\S+/manifests/', text)),
            len(re.findall(r'"GET /v2/\S+/blobs/', text)),
        )


class ImportMeter:
    """Requests, writes and processor time of one server, which imports from one registry."""

    def __init__(self, server: Installation, session: aiohttp.ClientSession, log: Path) -> None:
        self.host = server.vendor
        self._server = MeasuredServer(server)
        self._session = session
        self._log = log

    async def requests(self) -> Requests:
        return Requests.logged(self._log)

    async def version(self) -> int:
        """The store's version, which each write of any object raises by one."""
        async with self._session.get(f"{STREAMS_PATH}?limit=1") as answer:
            return int((await answer.json())["metadata"]["resourceVersion"])

    async def first_import(self, host: str) -> str:
        used, started = self._server.processor, time.perf_counter()
        for number in range(STREAMS):
            body = json.dumps(stream(host, number)).encode()
            async with self._session.post(STREAMS_PATH, data=body):
                pass
        asked = await until(self.requests, lambda seen: seen.heads >= STREAMS * TAGS)
        took = time.perf_counter() - started
        await asyncio.sleep(INTERVAL_SECONDS)
        seen = await self.requests()
        return (
            f"first import: {asked.heads / took:.0f} HEADs a second, {seen.manifests} manifests,"
            f" {seen.blobs} blobs, {self._server.processor - used:.2f} s of processor with a round"
        )

    async def steady(self) -> list[float]:
        """Measure some rounds, in which nobody asks the server for anything.

        Return the processor seconds for 1,000 HEADs of each.
        """
        version, rounds = await self.version(), [await self._round() for _ in range(ROUNDS)]
        writes = await self.version() - version
        low, middle, high = quantiles(rounds, n=4)
        print(  # noqa: T201
            f"without news: {middle:.2f} s of processor for 1,000 HEADs, median of {ROUNDS} rounds"
            f" (quartiles {low:.2f} to {high:.2f}), {writes} writes"
        )
        return rounds

    async def _round(self) -> float:
        before, used = await self.requests(), self._server.processor
        await asyncio.sleep(INTERVAL_SECONDS)
        asked = (await self.requests()).heads - before.heads
        return (self._server.processor - used) / asked * 1000


async def test_a_running_server_imports_a_thousand_tags(tmp_path: Path, ratios: Ratios) -> None:
    async with AsyncExitStack() as stack:

        async def measured(at: int, program: str) -> ImportMeter:
            folder = tmp_path / str(at)
            folder.mkdir()
            host = await stack.enter_async_context(docker_registry(folder, access_log=True))
            for number in range(STREAMS):
                tags = [f"t{tag}" for tag in range(TAGS)]
                await push_image(host, f"team/app{number}", *tags, config=config(number))
            (folder / "registry.log").write_bytes(b"")  # it appends

            def run_by(server: Installation) -> None:
                server.program = (program, "-u", "-m", "upwell")  # each started alike, none forked
                server.vendor = host

            options = ("--import-interval", f"{INTERVAL_SECONDS}s")
            server = await stack.enter_async_context(installation(*options, prepare=run_by))
            session = await stack.enter_async_context(connected(server))
            meter = ImportMeter(server, session, folder / "registry.log")
            print(f"\n{program}: {await meter.first_import(host)}")  # noqa: T201
            return meter

        meters = [await measured(at, program) for at, program in enumerate(PROGRAMS)]
        found = await asyncio.gather(*(meter.steady() for meter in meters))
        bare = [await bare_heads(meter.host) for meter in meters[:1] for _ in range(ROUNDS)]
    used = median(found[0])
    print(f"bare sockets: {median(bare):.2f} s of processor for 1,000 HEADs")  # noqa: T201
    ratios.note_cost("1,000 tags without news, processor of bare HEADs", used / median(bare))
    for other in found[1:]:
        ratio = median(ours / theirs for ours, theirs in zip(found[0], other, strict=True))
        print(f"of the other version's: {ratio:.2f}")  # noqa: T201


async def bare_heads(host: str) -> float:
    """Return the processor seconds of as many HEADs by bare sockets of Python."""
    names = [f"{host}/team/app{n}:t{tag}" for n in range(STREAMS) for tag in range(TAGS)]
    used = time.process_time()
    await with_sockets([*map(Reference.parse, names)])
    return time.process_time() - used


def connected(server: Installation) -> aiohttp.ClientSession:
    """Return a client of the server's API."""
    headers = {"Authorization": f"Bearer {server.token}", "Content-Type": "application/json"}
    return aiohttp.ClientSession(server.url, headers=headers, raise_for_status=True)
