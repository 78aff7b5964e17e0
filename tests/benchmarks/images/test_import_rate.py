"""HEAD requests and processor time of imports by a running server.

UPWELL_BESIDE names the Python of another version's environment, whose server is measured in the
same run. Run with `pytest -m benchmark -s tests/benchmarks/images/test_import_rate.py`.
"""

import asyncio
import json
import os
import re
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import aiohttp
import pytest
from tests.support.benchmarks.measured_server import MeasuredServer
from tests.support.installation.installation import Installation, installation, until
from tests.support.registry.docker_registry import CONFIG, docker_registry, push_image

pytestmark = pytest.mark.benchmark

STREAMS, TAGS = 100, 10
INTERVAL_SECONDS = 20
ROUNDS = 3
BESIDE = os.environ.get("UPWELL_BESIDE", "")
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
    """Requests, writes and processor time of one server."""

    def __init__(self, server: Installation, session: aiohttp.ClientSession, log: Path) -> None:
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
        await self._server.quiet()
        seen = await self.requests()
        return (
            f"first import: {asked.heads / took:.0f} HEADs a second, {seen.manifests} manifests,"
            f" {seen.blobs} blobs, {self._server.processor - used:.2f} s of processor"
        )

    async def steady(self) -> str:
        """Measure some rounds, in which nobody asks the server for anything."""
        before, version, used = await self.requests(), await self.version(), self._server.processor
        began = time.perf_counter()
        await asyncio.sleep(ROUNDS * INTERVAL_SECONDS)
        used = self._server.processor - used
        asked, took = (await self.requests()).heads - before.heads, time.perf_counter() - began
        writes = await self.version() - version
        per_thousand = used / asked * 1000
        return (
            f"without news: {asked} HEADs in {took:.0f} s, {per_thousand:.2f} s of processor for"
            f" 1,000, {writes} writes"
        )


@pytest.mark.parametrize("program", [sys.executable, *filter(None, [BESIDE])])
async def test_a_running_server_imports_a_thousand_tags(tmp_path: Path, program: str) -> None:
    async with docker_registry(tmp_path, access_log=True) as host:

        def run_by(server: Installation) -> None:
            server.program = (program, "-m", "upwell")
            server.vendor = host

        for number in range(STREAMS):
            tags = [f"t{tag}" for tag in range(TAGS)]
            await push_image(host, f"team/app{number}", *tags, config=config(number))
        (tmp_path / "registry.log").write_bytes(b"")  # it appends
        options = ("--import-interval", f"{INTERVAL_SECONDS}s")
        async with installation(*options, prepare=run_by) as server:
            headers = {
                "Authorization": f"Bearer {server.token}",
                "Content-Type": "application/json",
            }
            async with aiohttp.ClientSession(
                server.url, headers=headers, raise_for_status=True
            ) as session:
                meter = ImportMeter(server, session, tmp_path / "registry.log")
                print(f"\n{program}: {await meter.first_import(host)}")  # noqa: T201
                print(f"{program}: {await meter.steady()}")  # noqa: T201
