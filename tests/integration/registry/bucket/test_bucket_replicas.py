"""Replicas that share a bucket: none loses what another has pushed, whenever one of them dies."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from aiohttp import web
from tests.support.registry.hosted_images import CONFIG, body, image, push, push_blob
from tests.support.s3.dying_clients import dying_after, on_either_side_of_a_request
from tests.support.s3.strict_server import StrictS3, bucket_at, strict_s3

from upwell.oci import Digest, MediaType
from upwell.registry.bucket.registry import BucketRegistry
from upwell.registry.bucket.upload_writing import PART_BYTES
from upwell.registry.errors import BlobUnknownError, RegistryError
from upwell.registry.hosting import ManifestPush, UploadUnknownError
from upwell.registry.interface import PushEvent  # noqa: TC001 - of a queue

HOST, APP = "registry.internal:5000", "team/app"
CONTENTS = "ours/contents/"


@dataclass
class SharedBucket:
    s3: StrictS3
    folder: Path
    stack: AsyncExitStack

    async def another(self, clock: Callable[[], float] = time.time) -> BucketRegistry:
        """Return a replica that knows nothing but the bucket."""
        bucket = await self.stack.enter_async_context(bucket_at(self.s3.url, self.folder))
        return BucketRegistry(bucket, HOST, clock=clock)

    def contents(self) -> set[str]:
        return {key for key in self.s3.objects if key.startswith(CONTENTS)}


@pytest.fixture
async def replicas(tmp_path: Path) -> AsyncIterator[SharedBucket]:
    async with AsyncExitStack() as stack:
        yield SharedBucket(await stack.enter_async_context(strict_s3()), tmp_path, stack)


def large(size: int, mark: bytes = b"x") -> bytes:
    block = bytes(range(256)) * 256 + mark
    return (block * (size // len(block) + 1))[:size]


async def pieces(raw: bytes, size: int = 256 * 1024) -> AsyncIterator[bytes]:
    for start in range(0, len(raw), size):
        yield raw[start : start + size]


async def read(registry: BucketRegistry, digest: Digest, repository: str = APP) -> bytes:
    size = await registry.blob_size(repository, digest, verified=True)
    async with registry.read_blob(repository, digest, range(size)) as chunks:
        return b"".join([chunk async for chunk in chunks])


async def test_what_one_replica_has_pushed_another_serves(replicas: SharedBucket) -> None:
    one, other = await replicas.another(), await replicas.another()
    assert await other.repositories() == []
    digest = await push(one, APP)

    assert (await other.find_manifest(APP, "v1")).digest == digest
    assert await other.read_manifest(APP, digest) == image()
    assert await read(other, Digest.of(CONFIG)) == CONFIG
    await other.untag(APP, "v1")
    assert await one.tag_digest(APP, "v1") is None


async def test_pushes_to_two_replicas_at_once_lose_no_tag(replicas: SharedBucket) -> None:
    one, other = await replicas.another(), await replicas.another()
    await push_blob(one, APP, CONFIG)
    rounds = 20

    async def push_all(registry: BucketRegistry, who: str) -> None:
        for number in range(rounds):
            raw = image(f"{who} {number}")
            for tag in (f"{who}-{number}", "latest"):
                await registry.put_manifest(ManifestPush(APP, raw, MediaType.OCI_MANIFEST, tag))

    await asyncio.gather(push_all(one, "one"), push_all(other, "other"))

    tags = dict(await (await replicas.another()).pushed_tags(APP))
    for who in ("one", "other"):
        for number in range(rounds):
            assert tags[f"{who}-{number}"] == Digest.of(image(f"{who} {number}"))
    assert tags["latest"] in {Digest.of(image(f"{who} {rounds - 1}")) for who in ("one", "other")}


async def test_an_upload_in_chunks_goes_from_replica_to_replica(replicas: SharedBucket) -> None:
    raw = large(2 * PART_BYTES + 100_000)
    cuts = [0, 1000, PART_BYTES + 5, 2 * PART_BYTES - 1, len(raw)]
    upload = await (await replicas.another()).start_upload(APP)
    for start, end in pairwise(cuts):
        replica = await replicas.another()
        assert await replica.upload_offset(APP, upload) == start
        assert await replica.append(APP, upload, pieces(raw[start:end]), start) == end
    await (await replicas.another()).finish_upload(APP, upload, Digest.of(raw))

    replica = await replicas.another()
    assert await read(replica, Digest.of(raw)) == raw
    async with replica.read_blob(
        APP, Digest.of(raw), range(PART_BYTES - 3, PART_BYTES + 3)
    ) as part:
        assert b"".join([piece async for piece in part]) == raw[PART_BYTES - 3 : PART_BYTES + 3]
    assert replicas.s3.uploads == {}
    with pytest.raises(UploadUnknownError):
        await replica.upload_offset(APP, upload)


async def test_two_replicas_that_take_one_chunk_make_nothing_wrong_of_it(
    replicas: SharedBucket,
) -> None:
    one, other = await replicas.another(), await replicas.another()
    upload = await one.start_upload(APP)
    raw, lie = large(PART_BYTES + 10, b"1"), large(PART_BYTES + 10, b"2")
    outcomes = await asyncio.gather(
        one.append(APP, upload, pieces(raw), 0),
        other.append(APP, upload, pieces(lie), 0),
        return_exceptions=True,
    )
    assert sum(isinstance(one, RegistryError) for one in outcomes) == 1
    for content in (raw, lie):
        try:
            await (await replicas.another()).finish_upload(APP, upload, Digest.of(content))
        except RegistryError:
            continue
        assert await read(await replicas.another(), Digest.of(content)) == content


async def push_whole(registry: BucketRegistry, layer: bytes) -> None:
    """Push an image with a layer of more than a part."""
    for content in (CONFIG, layer):
        upload = await registry.start_upload(APP)
        await registry.append(APP, upload, pieces(content))
        await registry.finish_upload(APP, upload, Digest.of(content))
    await registry.put_manifest(ManifestPush(APP, of_layer(layer), MediaType.OCI_MANIFEST, "v1"))


def of_layer(layer: bytes) -> bytes:
    document = json.loads(image())
    document["layers"] = [{"mediaType": "l", "digest": str(Digest.of(layer)), "size": len(layer)}]
    return json.dumps(document).encode()


@on_either_side_of_a_request(
    "tests/integration/registry/bucket/test_bucket_replicas.py"
    "::test_an_upload_in_chunks_goes_from_replica_to_replica"
)
async def test_a_replica_that_dies_at_any_request_leaves_nothing_half(
    replicas: SharedBucket,
    is_carried_out: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    layer = large(PART_BYTES + 1000)
    steps = 0
    while True:
        registry = await replicas.another()
        is_dead = False
        with dying_after(replicas.s3, steps, is_carried_out=is_carried_out):
            try:
                await push_whole(registry, layer)
            except RegistryError:
                is_dead = True

        survivor = await replicas.another()
        found = await survivor.tag_digest(APP, "v1")
        if found is not None:
            assert await survivor.read_manifest(APP, found) == of_layer(layer)
            assert await read(survivor, Digest.of(layer)) == layer
        await push_whole(survivor, layer)
        assert await read(survivor, Digest.of(layer)) == layer
        if not is_dead:
            break
        await everything_old(replicas, survivor)
        assert replicas.s3.uploads == {}
        # The configuration, the layer and the manifest.
        assert len(replicas.contents()) == 3
        assert not [key for key in replicas.s3.objects if key.startswith("ours/uploads/")]
        replicas.s3.objects.clear()
        steps += 1
    assert steps > 10


async def linked_and_not_ended(replicas: SharedBucket) -> str:
    """Let a replica die between the link of a blob and the end of its upload."""
    registry = await replicas.another()
    upload = await registry.start_upload(APP)
    await registry.append(APP, upload, body(b"layer"))

    async def dead(request: web.BaseRequest) -> web.StreamResponse | None:
        return web.Response(status=500) if request.method == "DELETE" else None

    replicas.s3.fault = dead
    with pytest.raises(RegistryError):
        await registry.finish_upload(APP, upload, Digest.of(b"layer"))
    replicas.s3.fault = None
    return upload


async def test_a_blob_stays_whose_upload_a_dead_replica_has_not_forgotten(
    replicas: SharedBucket,
) -> None:
    other = await replicas.another()
    await push_blob(other, APP, CONFIG)
    await linked_and_not_ended(replicas)
    raw = of_layer(b"layer")
    await other.put_manifest(ManifestPush(APP, raw, MediaType.OCI_MANIFEST, "v1"))

    await everything_old(replicas, other)

    assert not [key for key in replicas.s3.objects if key.startswith("ours/uploads/")]
    assert await read(await replicas.another(), Digest.of(b"layer")) == b"layer"


@pytest.mark.parametrize("then", ["cancel", "append", "finish otherwise"])
async def test_a_blob_stays_whatever_its_client_does_with_the_upload_it_was(
    replicas: SharedBucket, then: str
) -> None:
    other = await replicas.another()
    upload = await linked_and_not_ended(replicas)
    if then == "cancel":
        await other.cancel_upload(APP, upload)
    elif then == "append":
        with pytest.raises(UploadUnknownError):
            await other.append(APP, upload, body(b" and more"))
    else:
        with pytest.raises(RegistryError):
            await other.finish_upload(APP, upload, Digest.of(b"another"))

    assert await read(await replicas.another(), Digest.of(b"layer")) == b"layer"


async def everything_old(replicas: SharedBucket, registry: BucketRegistry) -> None:
    """Let everything be days old, and collect garbage."""
    for one in (*replicas.s3.objects.values(),):
        one.changed -= timedelta(days=3)
    for upload in replicas.s3.uploads.values():
        upload.begun -= timedelta(days=3)
    await registry.collect(datetime.now(UTC) + timedelta(days=1))


async def test_a_write_whose_answer_is_lost_is_known_to_be_done(replicas: SharedBucket) -> None:
    """Lose the first answer to each request of a push: all are repeated, and nothing is wrong."""
    seen = set[str]()

    def is_first(request: web.BaseRequest) -> bool:
        name = f"{request.method} {request.path_qs} {request.headers.get('If-Match')}"
        is_new = name not in seen
        seen.add(name)
        return is_new

    await push(await replicas.another(), APP, "v0", "before")
    layer = large(PART_BYTES + 1000)
    replicas.s3.drops_answers = is_first
    registry = await replicas.another()
    await push_whole(registry, layer)
    await registry.untag(APP, "v0")
    assert len([one for one in seen if one.startswith("PUT") and "_index" in one]) >= 3
    survivor = await replicas.another()
    assert dict(await survivor.pushed_tags(APP)) == {"v1": Digest.of(of_layer(layer))}
    assert await read(survivor, Digest.of(layer)) == layer


async def test_content_that_is_let_go_of_is_removed_and_nothing_else(
    replicas: SharedBucket,
) -> None:
    registry = await replicas.another()
    await push(registry, APP)
    unused = await push_blob(registry, APP, b"unused")
    assert await registry.mount_blob("team/other", Digest.of(CONFIG), APP)
    await push(registry, "team/other", "v1", "other")
    upload = await registry.start_upload(APP)
    await registry.append(APP, upload, body(b"half"))
    await registry.delete_manifest("team/other", Digest.of(image("other")))
    before = replicas.contents()

    await registry.collect_garbage()
    assert replicas.contents() == before  # all of it is young
    for one in replicas.s3.objects.values():
        one.changed -= timedelta(hours=2)
    await registry.collect(datetime.now(UTC) + timedelta(days=1))

    with pytest.raises(BlobUnknownError):
        await registry.blob_size(APP, unused)
    assert await read(await replicas.another(), Digest.of(CONFIG)) == CONFIG
    assert len(replicas.contents()) == 2
    assert not [key for key in replicas.s3.objects if "condemned" in key or "uploads" in key]


async def test_a_blob_that_is_mounted_while_it_is_collected_is_there_or_was_refused(
    replicas: SharedBucket,
) -> None:
    """Stop a collection at each of its requests, and mount what it is about to remove."""
    steps = 0
    while True:
        registry, other = await replicas.another(), await replicas.another()
        long_ago = await replicas.another(lambda: time.time() - 48 * 3600)
        blob = await push_blob(long_ago, "team/source", b"wanted")
        for one in replicas.s3.objects.values():
            one.changed -= timedelta(hours=2)
        # What it knows of the source lets it believe in the blob after that has let go of it.
        await other.blob_size("team/source", blob, verified=True)
        at, mounted = steps, list[bool]()

        async def between(request: web.BaseRequest) -> None:
            del request
            nonlocal at
            at -= 1
            if at == -1:
                replicas.s3.fault = None
                mounted.append(await other.mount_blob(APP, blob, "team/source"))  # noqa: B023

        replicas.s3.fault = between
        await registry.collect(datetime.now(UTC) - timedelta(hours=1))
        if not mounted:
            break
        replica = await replicas.another()
        if mounted[0]:
            assert await read(replica, blob) == b"wanted"
        else:
            with pytest.raises(BlobUnknownError):
                await replica.blob_size(APP, blob)
        replicas.s3.objects.clear()
        steps += 1
    assert steps > 5


async def test_damaged_content_is_refused_told_and_healed_by_a_push(replicas: SharedBucket) -> None:
    raw = large(600_000)
    registry = await replicas.another()
    for content in (CONFIG, raw):
        await push_blob(registry, APP, content)
    await push(registry, APP)
    for one in replicas.s3.objects.values():
        if one.raw == raw:
            one.raw = raw[:-1] + b"?"
    registry = await replicas.another()
    digest = Digest.of(raw)

    with pytest.raises(RegistryError):
        await read(registry, digest)
    with pytest.raises(BlobUnknownError):
        await registry.blob_size(APP, digest)
    assert registry.damage() == {APP: [f"content {digest}"]}
    assert (await registry.find_manifest(APP, "v1")).digest == Digest.of(image())

    await push_blob(registry, APP, raw)
    assert await read(registry, digest) == raw
    assert registry.damage() == {}


async def test_a_push_to_another_replica_is_told_by_who_follows(replicas: SharedBucket) -> None:
    one, other = await replicas.another(), await replicas.another()
    await push(one, APP, "before")
    told: asyncio.Queue[PushEvent] = asyncio.Queue()
    other.subscribe(told.put_nowait)
    async with asyncio.TaskGroup() as group:
        following = group.create_task(other.follow(pause=0.05))
        async with asyncio.timeout(60):
            while not any("repositories" in one for one in replicas.s3.requests[-3:]):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            digest = await push(one, APP, "after", "after")
            event = await told.get()
        following.cancel()
    assert (event.repository, event.tag, event.digest) == (APP, "after", digest)
    assert told.empty()
    assert other.stored_bytes() > 0


async def test_a_push_elsewhere_before_the_first_look_is_told_of_what_was_read(
    replicas: SharedBucket,
) -> None:
    one, other = await replicas.another(), await replicas.another()
    await push(one, APP, "before")
    read = await other.pushed_tags(APP)
    digest = await push(one, APP, "after", "after")
    told: asyncio.Queue[PushEvent] = asyncio.Queue()
    other.subscribe(told.put_nowait)
    async with asyncio.TaskGroup() as group:
        following = group.create_task(other.follow(pause=0.05))
        async with asyncio.timeout(60):
            event = await told.get()
        following.cancel()
    assert [tag for tag, _ in read] == ["before"]
    assert (event.tag, event.digest) == ("after", digest)


async def test_bytes_of_a_namespace_are_counted_once_by_every_replica(
    replicas: SharedBucket,
) -> None:
    one, other = await replicas.another(), await replicas.another()
    await push(one, APP)
    await one.mount_blob("team/other", Digest.of(CONFIG), APP)
    # The configuration, a manifest and a tag: a block each.
    assert await one.storage_used("team") == await other.storage_used("team") == 3 * 4096
    assert await one.storage_used("teamster") == 0


async def test_an_upload_counts_at_every_replica_and_once(replicas: SharedBucket) -> None:
    raw = large(PART_BYTES + 1000)
    one, other = await replicas.another(), await replicas.another()
    upload = await one.start_upload(APP)
    await one.append(APP, upload, pieces(raw))
    assert len(raw) <= await other.storage_used("team") < 2 * len(raw)
    assert await other.storage_used("else") == await other.storage_used("tea") == 0

    third = await replicas.another()
    await one.finish_upload(APP, upload, Digest.of(raw))
    used = await third.storage_used("team")
    assert len(raw) <= used < 2 * len(raw)
    assert await one.storage_used("team") == used
    await other.blob_size(APP, Digest.of(raw))  # has read the index, and not the uploads
    assert await other.storage_used("team") == used
