"""HEAD requests and processor time of imports by a running server.

UPWELL_BESIDE names the Python of another version's environment, whose server is measured in the
same run. Run with `pytest -m benchmark -s tests/benchmarks/test_import_rate.py`.
"""

import json
import os
import re
import sys
import time
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from tests.benchmarks.test_memory import MeasuredServer
from tests.support.installation.installation import Installation, installation, until
from tests.support.registry.docker_registry import docker_registry, push_image

pytestmark = pytest.mark.benchmark

STREAMS, TAGS = 100, 10
INTERVAL_SECONDS = 10
ROUNDS = 3
BESIDE = os.environ.get("UPWELL_BESIDE", "")


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


class ImportMeter:
    """Checks of tags and processor time of one server."""

    def __init__(self, server: Installation, session: aiohttp.ClientSession) -> None:
        self._server = MeasuredServer(server)
        self._session = session

    async def checks(self) -> int:
        """Return how many tags were asked for since the start, one HEAD each."""
        async with self._session.get("/metrics") as answer:
            text = await answer.text()
        found = re.findall(r"^upwell_registry_checks_total\{[^}]*\} (\S+)", text, re.MULTILINE)
        return int(sum(map(float, found)))

    async def first_import(self, host: str) -> str:
        path = "/apis/image.openshift.io/v1/namespaces/default/imagestreams"
        used, started = self._server.processor, time.perf_counter()
        for number in range(STREAMS):
            async with self._session.post(path, data=json.dumps(stream(host, number)).encode()):
                pass
        await until(self.checks, lambda count: count >= STREAMS * TAGS)
        took = time.perf_counter() - started
        return f"first import: {STREAMS * TAGS / took:.0f} HEADs a second, {self._since(used)}"

    async def steady(self) -> str:
        checks, used = await self.checks(), self._server.processor
        counted = await until(self.checks, lambda count: count >= checks + ROUNDS * STREAMS * TAGS)
        per_thousand = (self._server.processor - used) / (counted - checks) * 1000
        return f"without news: {per_thousand:.2f} s of processor for 1,000 HEADs"

    def _since(self, used: float) -> str:
        return f"{self._server.processor - used:.2f} s of processor"


@pytest.mark.parametrize("program", [sys.executable, *filter(None, [BESIDE])])
async def test_a_running_server_imports_a_thousand_tags(tmp_path: Path, program: str) -> None:
    async with docker_registry(tmp_path) as host:

        def run_by(server: Installation) -> None:
            server.program = (program, "-m", "upwell")
            server.vendor = host

        for number in range(STREAMS):
            await push_image(host, f"team/app{number}", *(f"t{tag}" for tag in range(TAGS)))
        options = ("--import-interval", f"{INTERVAL_SECONDS}s")
        async with installation(*options, prepare=run_by) as server:
            headers = {
                "Authorization": f"Bearer {server.token}",
                "Content-Type": "application/json",
            }
            async with aiohttp.ClientSession(
                server.url, headers=headers, raise_for_status=True
            ) as session:
                meter = ImportMeter(server, session)
                print(f"\n{program}: {await meter.first_import(host)}")  # noqa: T201
                print(f"{program}: {await meter.steady()}")  # noqa: T201
