"""Contents that replicas share in the registry: no images to anybody, and no client's to read."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import aiohttp
import pytest
from tests.support.registry.embedded_server import serving_registry
from tests.support.registry.hosted_images import push
from tests.support.s3.strict_server import bucket_at, strict_s3

from upwell.oci import Descriptor, Digest
from upwell.oci.replica_contents import ReplicaContent
from upwell.registry.attachments.targets import HostedArtifacts
from upwell.registry.bucket.registry import BucketRegistry
from upwell.registry.client.push import once
from upwell.registry.interface import PushEvent  # noqa: TC001 - of a queue
from upwell.registry.replica_contents import ReplicaArtifact, ReplicaArtifacts

CONTENT = b"sources of a build"
LAYER = Descriptor("application/octet-stream", Digest.of(CONTENT), len(CONTENT))
ARTIFACT = ReplicaArtifact("tag", LAYER)
UPLOADS = "upwell.uploads/shop"


@dataclass
class ServedBucket:
    registry: BucketRegistry
    other: BucketRegistry
    artifacts: ReplicaArtifacts


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[ServedBucket]:
    """Serve a replica's registry in a bucket, with something that it shares."""
    async with (
        strict_s3() as s3,
        bucket_at(s3.url, tmp_path) as bucket,
        serving_registry(partial(BucketRegistry, bucket)) as registry,
    ):
        target = HostedArtifacts(registry)
        artifacts = ReplicaArtifacts(registry, target, ReplicaContent.UPLOADS)
        other = BucketRegistry(bucket, registry.host)
        await push(registry, "shop/web")
        yield ServedBucket(registry, other, artifacts)


async def test_clients_neither_see_nor_read_nor_write_it(served: ServedBucket) -> None:
    await served.artifacts.put("shop", ARTIFACT, partial(once, CONTENT))
    base = f"http://{served.registry.host}/v2"
    mount = f"blobs/uploads/?mount={LAYER.digest}&from={UPLOADS}"
    calls = [
        ("GET", f"{UPLOADS}/tags/list"),
        ("GET", f"{UPLOADS}/manifests/tag"),
        ("PUT", f"{UPLOADS}/manifests/tag"),
        ("DELETE", f"{UPLOADS}/manifests/tag"),
        ("GET", f"{UPLOADS}/blobs/{LAYER.digest}"),
        ("DELETE", f"{UPLOADS}/blobs/{LAYER.digest}"),
        ("POST", f"{UPLOADS}/blobs/uploads/"),
        ("GET", f"{UPLOADS}/referrers/{LAYER.digest}"),
        ("GET", "upwell.uploads/tags/list"),
        ("GET", f"shop/web/blobs/{LAYER.digest}"),
    ]
    async with aiohttp.ClientSession() as session:
        for method, path in calls:
            async with session.request(method, f"{base}/{path}") as answer:
                assert answer.status == 404, f"{method} {path}: {await answer.text()}"
        async with session.post(f"{base}/shop/web/{mount}") as answer:
            assert answer.status == 202, "it is to be uploaded: nothing was mounted"
        async with session.get(f"{base}/_catalog") as answer:
            assert await answer.json() == {"repositories": ["shop/web"]}
    async with served.artifacts.open("shop", LAYER.digest) as pieces:
        assert b"".join([piece async for piece in pieces]) == CONTENT


async def test_no_replica_tells_of_it_as_of_an_image(served: ServedBucket) -> None:
    here: list[PushEvent] = []
    there: asyncio.Queue[PushEvent] = asyncio.Queue()
    served.registry.subscribe(here.append)
    served.other.subscribe(there.put_nowait)
    looked = asyncio.Event()
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        following = group.create_task(
            served.other.follow(lambda _: looked.set(), pause=0.05), name="follow"
        )
        await looked.wait()
        await served.artifacts.put("shop", ARTIFACT, partial(once, CONTENT))
        digest = await push(served.registry, "shop/web", "v2")
        told = await there.get()
        following.cancel()

    assert (told.repository, told.tag, told.digest) == ("shop/web", "v2", digest)
    assert there.empty()
    assert [one.repository for one in here] == ["shop/web"]


async def test_it_counts_for_no_namespace_as_images_do(served: ServedBucket) -> None:
    before = await served.registry.storage_used("shop")
    await served.artifacts.put("shop", ARTIFACT, partial(once, CONTENT))
    assert await served.registry.storage_used("shop") == before


async def test_it_is_found_by_its_tags_until_it_is_removed(served: ServedBucket) -> None:
    artifacts = served.artifacts
    assert await artifacts.tags("shop") == ()
    assert await artifacts.layer("shop", "tag") is None
    await artifacts.put("shop", ARTIFACT, partial(once, CONTENT))
    await artifacts.put("shop", ARTIFACT, partial(once, CONTENT))

    assert list(await artifacts.tags("shop")) == ["tag"]
    layer = await artifacts.layer("shop", "tag")
    assert layer is not None
    assert (layer.digest, layer.size) == (LAYER.digest, LAYER.size)
    for _ in range(2):
        await artifacts.remove("shop", ARTIFACT)
        assert list(await artifacts.tags("shop")) == []
