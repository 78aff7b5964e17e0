"""A push into a large repository of a bucket, and who waits for it at a running `upwell serve`.

pytest -m benchmark -s tests/benchmarks/hosting/test_bucket_indexes.py
"""

import asyncio
import json
import os
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import aiohttp
import pytest
from tests.support.benchmarks.processor_time import process_seconds
from tests.support.benchmarks.ratios import Ratios
from tests.support.installation.installation import installation
from tests.support.s3.moto import moto_process
from tests.support.s3.settings import bucket_settings
from tests.support.s3.strict_server import bucket_at

from upwell.oci import Digest, MediaType
from upwell.registry.bucket.registry import BucketRegistry
from upwell.registry.hosting import ManifestPush

pytestmark = pytest.mark.benchmark

PUSHES = 15
IMAGES = (10, 1_000, 10_000, 40_000)
NAME = "bench/large"
CONFIG = b'{"os":"linux"}'


def index_of(images: int) -> bytes:
    """Return an index of so many images of three layers, each with a tag, as one document.

    The tags are those of signatures: an ImageStream has none of them, whose cost is its own.
    """
    manifests, tags, blobs = {}, {}, {}
    for number in range(images):
        names = [f"sha256:{os.urandom(32).hex()}" for _ in range(5)]
        manifests[names[0]] = {
            "link": [os.urandom(16).hex(), 1234, 1.7e9 + number],
            "mediaType": str(MediaType.OCI_MANIFEST),
            "size": 1234,
            "subject": None,
            "artifactType": "application/vnd.oci.image.config.v1+json",
            "annotations": {},
            "needs": dict.fromkeys(names[1:], 12345678),
            "isIndex": False,
        }
        tags[f"sha256-{names[0].removeprefix('sha256:')}.sig"] = [names[0], 1.7e9 + number]
        blobs.update({one: [os.urandom(16).hex(), 12345678, 1.7e9 + number] for one in names[1:]})
    document = {
        "version": 1,
        "write": "bench",
        "manifests": manifests,
        "tags": tags,
        "blobs": blobs,
    }
    return json.dumps(document, separators=(",", ":")).encode()


def image(mark: str) -> bytes:
    """Return a manifest."""
    config = {"mediaType": "c", "digest": str(Digest.of(CONFIG)), "size": len(CONFIG)}
    document = {"schemaVersion": 2, "mediaType": MediaType.OCI_MANIFEST, "config": config}
    return json.dumps({**document, "layers": [], "annotations": {"mark": mark}}).encode()


async def test_a_push_into_many_images(tmp_path: Path, ratios: Ratios) -> None:
    took = {}
    for images in IMAGES:
        folder = tmp_path / str(images)
        folder.mkdir()
        took[images] = await pushes_into(images, folder)
    few, many = took[IMAGES[0]], took[IMAGES[-1]]
    ratios.note_cost(
        f"push into {IMAGES[-1]} images of a bucket, of one into {IMAGES[0]}", many / few
    )


async def pushes_into(images: int, tmp_path: Path) -> float:
    """Measure pushes into so many images; return the median seconds of one to this replica."""
    async with moto_process() as s3, bucket_at(s3.url, tmp_path, prefix="") as bucket:
        await bucket.put(f"repositories/{NAME}/_index", index_of(images))
        settings = bucket_settings(tmp_path, s3.url)
        async with installation("--config", str(settings)) as made:
            base = f"http://127.0.0.1:{made.port}/v2"
            pid = made.pid
            headers = {"Authorization": f"Bearer {made.token}"}
            async with aiohttp.ClientSession(headers=headers) as session:

                async def push_here(mark: str) -> None:
                    kind = {"Content-Type": str(MediaType.OCI_MANIFEST)}
                    url = f"{base}/{NAME}/manifests/{mark}"
                    async with session.put(url, data=image(mark), headers=kind) as answer:
                        assert answer.status == 201, await answer.text()

                async def see(mark: str) -> None:
                    while True:
                        async with session.get(f"{base}/{NAME}/manifests/{mark}") as answer:
                            if answer.status == 200:
                                return

                other = BucketRegistry(bucket, "elsewhere:5000")

                async def push_elsewhere(mark: str) -> None:
                    push = ManifestPush(NAME, image(mark), str(MediaType.OCI_MANIFEST), mark)
                    await other.put_manifest(push)
                    await see(mark)

                url = f"{base}/{NAME}/blobs/uploads/?digest={Digest.of(CONFIG)}"
                async with session.post(url, data=CONFIG) as answer:
                    assert answer.status == 201, await answer.text()
                await push_here("first")
                took = await report(f"{images} images, a push here", pid, push_here, session, base)
                await push_elsewhere("other")
                title = f"{images} images, a push at another replica"
                await report(title, pid, push_elsewhere, session, base)
                return took


@pytest.mark.parametrize("images", IMAGES[2:])
async def test_who_waits_while_all_images_are_looked_at(tmp_path: Path, images: int) -> None:
    async with moto_process() as s3, bucket_at(s3.url, tmp_path, prefix="") as bucket:
        settings = bucket_settings(tmp_path, s3.url)
        async with installation("--config", str(settings)) as made:
            base = f"http://127.0.0.1:{made.port}"
            headers = {"Authorization": f"Bearer {made.token}"}
            async with aiohttp.ClientSession(headers=headers) as session:

                async def first_count() -> None:
                    await bucket.put(f"repositories/{NAME}/_index", index_of(images))
                    while True:
                        async with session.get(f"{base}/v2/{NAME}/tags/list?n=1") as answer:
                            if answer.status == 200:
                                return

                async def prune(*, confirm: bool) -> None:
                    spec = {"confirm": confirm, "keepYoungerThanSeconds": 1e9}
                    document = {"apiVersion": "upwell.dev/v1alpha1", "kind": "Prune", "spec": spec}
                    url = f"{base}/apis/upwell.dev/v1alpha1/prunes"
                    async with session.post(url, json=document) as answer:
                        assert answer.status == 201, await answer.text()

                async def push_one(mark: str) -> None:
                    kind = {"Content-Type": str(MediaType.OCI_MANIFEST)}
                    url = f"{base}/v2/{NAME}/manifests/{mark}"
                    async with session.put(url, data=image(mark), headers=kind) as answer:
                        assert answer.status == 201, await answer.text()

                await longest_wait(f"{images} images, the first count", first_count, session, base)
                url = f"{base}/v2/{NAME}/blobs/uploads/?digest={Digest.of(CONFIG)}"
                async with session.post(url, data=CONFIG) as answer:
                    assert answer.status == 201, await answer.text()
                await push_one("divided")
                for _ in range(3):
                    dry = partial(prune, confirm=False)
                    await longest_wait(f"{images} images, a survey", dry, session, base)
                    collected = partial(prune, confirm=True)
                    title = f"{images} images, garbage collection"
                    await longest_wait(title, collected, session, base)


async def longest_wait(
    title: str, work: Callable[[], Awaitable[None]], session: aiohttp.ClientSession, base: str
) -> None:
    """Print how long the work took, and the longest that another request waited meanwhile."""
    longest, is_over = 0.0, asyncio.Event()

    async def ask() -> None:
        nonlocal longest
        while not is_over.is_set():
            began = time.perf_counter()
            async with session.get(f"{base}/v2/") as answer:
                await answer.read()
            longest = max(longest, time.perf_counter() - began)

    asking = asyncio.create_task(ask())
    began = time.perf_counter()
    await work()
    took = time.perf_counter() - began
    is_over.set()
    await asking
    write(f"{title}: {took:.1f} s, another request waited for {1000 * longest:.0f} ms")


async def report(
    title: str,
    pid: int,
    push: Callable[[str], Awaitable[None]],
    session: aiohttp.ClientSession,
    base: str,
) -> float:
    """Push several times, while others ask for nothing much; print and return what that took."""
    took, used, waits = [], [], []
    for number in range(PUSHES):
        longest, is_over = 0.0, asyncio.Event()

        async def ask() -> None:
            nonlocal longest
            while not is_over.is_set():  # noqa: B023
                began = time.perf_counter()
                async with session.get(f"{base}/") as answer:
                    await answer.read()
                longest = max(longest, time.perf_counter() - began)

        asking = asyncio.create_task(ask())
        before, began = process_seconds(pid), time.perf_counter()
        await push(f"{title.rpartition(' ')[2]}-{number}")
        took.append(time.perf_counter() - began)
        is_over.set()
        await asking
        used.append(process_seconds(pid) - before)
        waits.append(longest)
    write(f"{title}: {spread(took)} ms, {spread(used)} ms of the server's processor")
    write(f"  the longest that another request waited: {spread(waits)} ms")
    return statistics.median(took)


def spread(seconds: list[float]) -> str:
    """Return median, quartiles and the greatest in milliseconds."""
    low, middle, high = (1000 * one for one in statistics.quantiles(seconds))
    return f"{middle:.0f} ({low:.0f} to {high:.0f}, at most {1000 * max(seconds):.0f})"


def write(line: str) -> None:
    """Print a result."""
    sys.stdout.write(f"{line}\n")
