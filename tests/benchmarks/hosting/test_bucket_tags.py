"""A thousand tags of one ImageStream, pushed to a running `upwell serve` on a bucket.

pytest -m benchmark -s tests/benchmarks/hosting/test_bucket_tags.py

It notes no ratio: the rate is that of the storage's answers, and nothing here is beside it.
"""

import asyncio
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest
from tests.benchmarks.hosting.test_bucket_indexes import CONFIG, image
from tests.support.benchmarks.processor_time import process_seconds
from tests.support.installation.installation import installation
from tests.support.s3.moto import moto_process
from tests.support.s3.settings import bucket_settings

from upwell.oci import Digest, MediaType

pytestmark = pytest.mark.benchmark

TAGS, CLIENTS = 1000, 8
NAME = "bench/app"
STREAM = "/apis/image.openshift.io/v1/namespaces/bench/imagestreams/app"


async def test_a_thousand_tags_of_one_stream(tmp_path: Path) -> None:
    async with moto_process() as s3:
        settings = bucket_settings(tmp_path, s3.url)
        async with installation("--config", str(settings)) as made:
            base = f"http://127.0.0.1:{made.port}"
            headers = {"Authorization": f"Bearer {made.token}"}
            async with aiohttp.ClientSession(base, headers=headers) as session:
                url = f"/v2/{NAME}/blobs/uploads/?digest={Digest.of(CONFIG)}"
                async with session.post(url, data=CONFIG) as answer:
                    assert answer.status == 201, await answer.text()
                waits, is_over = [0.0], asyncio.Event()
                asking = asyncio.create_task(ask(session, waits, is_over))
                before, began = process_seconds(made.pid), time.perf_counter()
                left = iter(f"v{number}" for number in range(TAGS))
                await asyncio.gather(*(push(session, left) for _ in range(CLIENTS)))
                pushed = time.perf_counter() - began
                while await tags_of_stream(session) < TAGS:
                    pass
                there = time.perf_counter() - began
                is_over.set()
                await asking
                used = process_seconds(made.pid) - before
    sys.stdout.write(
        f"{TAGS} tags by {CLIENTS} clients: {pushed:.1f} s, all in the stream after {there:.1f} s,"
        f" {used:.1f} s of the server's processor;"
        f" another request waited for {1000 * max(waits):.0f} ms\n"
    )


async def push(session: aiohttp.ClientSession, left: Iterator[str]) -> None:
    """Push an image under each tag that is left."""
    kind = {"Content-Type": str(MediaType.OCI_MANIFEST)}
    for tag in left:
        url = f"/v2/{NAME}/manifests/{tag}"
        async with session.put(url, data=image(tag), headers=kind) as answer:
            assert answer.status == 201, await answer.text()


async def tags_of_stream(session: aiohttp.ClientSession) -> int:
    """Return how many tags the ImageStream has."""
    async with session.get(STREAM) as answer:
        return len((await answer.json()).get("status", {}).get("tags", []))


async def ask(session: aiohttp.ClientSession, waits: list[float], is_over: asyncio.Event) -> None:
    """Ask for nothing much, and note how long that took."""
    while not is_over.is_set():
        began = time.perf_counter()
        async with session.get("/v2/") as answer:
            await answer.read()
        waits.append(time.perf_counter() - began)
        await asyncio.sleep(0.01)
