"""Watches, memory and start of a running server that has ten thousand objects.

Run with `pytest -m benchmark -s tests/benchmarks/test_memory.py`.
"""

import asyncio
import json
import re
import time
from collections.abc import Iterator
from typing import Any

import aiohttp
import pytest
from tests.support.benchmarks.bare_work import empty_program_seconds
from tests.support.benchmarks.measured_server import SECONDS, MeasuredServer
from tests.support.benchmarks.ratios import Ratios
from tests.support.installation.installation import Installation, installation

pytestmark = pytest.mark.benchmark

STREAMS = 5_000
BUILD_CONFIGS = 5_000
WRITERS = 16


def stream(number: int) -> dict[str, Any]:
    """Return a stream whose tag follows one of a stream that does not exist."""
    source = {"kind": "ImageStreamTag", "name": "base:latest"}
    metadata = {"name": f"app{number}", "namespace": "default"}
    return {"metadata": metadata, "spec": {"tags": [{"name": "latest", "from": source}]}}


def build_config(number: int) -> dict[str, Any]:
    """Return a BuildConfig that follows a tag without an image, so that it starts no build."""
    source = {"type": "Dockerfile", "dockerfile": "FROM base\n"}
    base = {"kind": "ImageStreamTag", "name": f"app{number}:latest"}
    strategy = {"type": "Docker", "dockerStrategy": {"from": base}}
    output = {"to": {"kind": "ImageStreamTag", "name": f"out{number}:latest"}}
    triggers = [{"type": "ImageChange", "imageChange": {}}, {"type": "ConfigChange"}]
    spec = {"source": source, "strategy": strategy, "output": output, "triggers": triggers}
    return {"metadata": {"name": f"app{number}", "namespace": "default"}, "spec": spec}


def requests() -> Iterator[tuple[str, bytes]]:
    """Yield path and body of every object's creation."""
    images = "/apis/image.openshift.io/v1/namespaces/default/imagestreams"
    builds = "/apis/build.openshift.io/v1/namespaces/default/buildconfigs"
    for number in range(STREAMS):
        yield images, json.dumps(stream(number)).encode()
    for number in range(BUILD_CONFIGS):
        yield builds, json.dumps(build_config(number)).encode()


async def fill(server: Installation) -> float:
    """Create all objects; return the seconds."""
    objects, started = requests(), time.perf_counter()
    headers = {"Authorization": f"Bearer {server.token}"}
    headers["Content-Type"] = "application/json"

    async def write(api: aiohttp.ClientSession) -> None:
        for path, body in objects:
            async with api.post(path, data=body):
                pass

    async with (
        aiohttp.ClientSession(server.url, headers=headers, raise_for_status=True) as session,
        asyncio.timeout(SECONDS),
        asyncio.TaskGroup() as group,
    ):
        for _ in range(WRITERS):
            group.create_task(write(session))
    return time.perf_counter() - started


async def watches(server: Installation) -> dict[str, int]:
    """Return the watches of the store by kind, as the server's metrics tell them."""
    headers = {"Authorization": f"Bearer {server.token}"}
    async with (
        aiohttp.ClientSession(server.url, headers=headers) as session,
        session.get("/metrics") as answer,
    ):
        text = await answer.text()
    found = re.findall(r'^upwell_store_watches{kind="(\w+)"} (\d+)', text, re.MULTILINE)
    return {kind: int(count) for kind, count in found}


async def measure(running: Installation, ratios: Ratios) -> None:
    """Print what a server takes, empty, filled, and started again."""
    server = MeasuredServer(running)
    await server.quiet()
    empty, bare = server.memory, empty_program_seconds()
    ratios.note_cost("start of a server, processor of an empty program", server.processor / bare)
    print(f"\nempty: {server.memory:.0f} MiB, {server.processor:.1f} s of processor")  # noqa: T201
    used = server.processor
    took = await fill(running)
    await server.quiet()
    print(  # noqa: T201
        f"{STREAMS} ImageStreams and {BUILD_CONFIGS} BuildConfigs: created in {took:.1f} s,"
        f" {server.processor - used:.1f} s of processor until all is done,"
        f" {server.memory:.0f} MiB"
    )
    documents = sum(len(body) for _, body in requests()) / 2**20
    ratios.note_cost("memory of 10,000 objects, their JSON", (server.memory - empty) / documents)
    for _ in range(3):
        took, used = await server.restart()
        await server.quiet()
        title = "start with 10,000 objects, processor of an empty program"
        ratios.note_cost(title, server.processor / bare)
        print(  # noqa: T201
            f"started again: ready after {took:.2f} s ({used:.1f} s of processor),"
            f" {server.processor:.1f} s of processor until all is looked at,"
            f" {server.memory:.0f} MiB"
        )


async def test_ten_thousand_objects_in_a_running_server(ratios: Ratios) -> None:
    async with installation() as running:
        await measure(running, ratios)
        found = await watches(running)
    print(f"{sum(found.values())} watches: {found}")  # noqa: T201
    assert set(found.values()) == {1}, "each kind is followed once, whoever is told"
