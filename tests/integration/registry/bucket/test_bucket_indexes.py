"""Large indexes of a bucket, in partitions: a push writes a few of them, and others read those."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from aiohttp import web
from tests.support.registry.hosted_images import CONFIG, image, push_blob
from tests.support.s3.dying_clients import dying_after, on_either_side_of_a_request
from tests.support.s3.strict_server import StrictS3, bucket_at, strict_s3

from upwell.oci import Digest, MediaType
from upwell.registry.bucket import index_storage, indexes, partitions
from upwell.registry.bucket.registry import BucketRegistry
from upwell.registry.errors import RegistryError
from upwell.registry.hosting import ManifestPush
from upwell.registry.s3.errors import BucketAnswerError

HOST, APP = "registry.internal:5000", "team/app"
INDEX, CONTENTS = f"ours/repositories/{APP}/_index", "ours/contents/"
FEW = 4


class Bucket:
    """Storage, and replicas that know nothing but what is there."""

    def __init__(self, s3: StrictS3, folder: Path, stack: AsyncExitStack) -> None:
        self.s3 = s3
        self._folder = folder
        self._stack = stack
        self.now = datetime.now(UTC).timestamp()

    async def another(self) -> BucketRegistry:
        bucket = await self._stack.enter_async_context(bucket_at(self.s3.url, self._folder))
        return BucketRegistry(bucket, HOST, clock=lambda: self.now)

    def version(self) -> int:
        return int(json.loads(self.s3.objects[INDEX].raw)["version"])

    def documents(self) -> set[str]:
        """Return the keys of the documents that the index names."""
        root = json.loads(self.s3.objects[INDEX].raw)
        fields = (root[name].values() for name in ("manifests", "tags", "blobs"))
        return {f"{CONTENTS}{content}" for each in fields for content, _ in each if content}

    def contents(self) -> set[str]:
        return {key for key in self.s3.objects if key.startswith(CONTENTS)}

    @asynccontextmanager
    async def counted(self) -> AsyncIterator[list[str]]:
        """Give the requests of a block once it is over."""
        before, made = len(self.s3.requests), list[str]()
        yield made
        made.extend(self.s3.requests[before:])

    async def everything_old(self, registry: BucketRegistry) -> None:
        """Let everything be days old, and collect garbage."""
        for one in self.s3.objects.values():
            one.changed -= timedelta(days=3)
        await registry.collect(datetime.fromtimestamp(self.now, UTC) + timedelta(days=1))


@pytest.fixture
async def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bucket]:
    """A bucket whose indexes are large from a few items on."""
    for module in (partitions, index_storage):
        monkeypatch.setattr(module, "MOST_ITEMS", FEW)
    monkeypatch.setattr(index_storage, "_LEAST_MEAN_BYTES", 64)
    async with AsyncExitStack() as stack:
        yield Bucket(await stack.enter_async_context(strict_s3()), tmp_path, stack)


async def put(registry: BucketRegistry, mark: str, tag: str | None = None) -> Digest:
    raw = image(mark)
    kind = str(MediaType.OCI_MANIFEST)
    await registry.put_manifest(ManifestPush(APP, raw, kind, tag or mark))
    return Digest.of(raw)


async def filled(bucket: Bucket, images: int = 40) -> dict[str, Digest]:
    """Have so many images pushed; return what each tag names."""
    registry = await bucket.another()
    await push_blob(registry, APP, CONFIG)
    return {f"v{number}": await put(registry, f"v{number}") for number in range(images)}


async def test_a_large_index_says_the_same_to_every_replica(bucket: Bucket) -> None:
    tags = await filled(bucket)
    assert bucket.version() == 2
    assert len(bucket.documents()) > 12
    reader = await bucket.another()
    assert dict(await reader.pushed_tags(APP)) == tags
    assert set(await reader.manifests_in(APP)) == set(tags.values())
    assert await reader.read_manifest(APP, tags["v7"]) == image("v7")
    assert await reader.blob_size(APP, Digest.of(CONFIG)) == len(CONFIG)


async def test_a_push_writes_and_a_reader_reads_what_has_changed(bucket: Bucket) -> None:
    tags = await filled(bucket)
    writer, reader = await bucket.another(), await bucket.another()
    for one in (writer, reader):
        await one.tag_digest(APP, "v1")
    async with bucket.counted() as made:
        digest = await put(writer, "new")
    written = [one for one in made if one.startswith("PUT")]
    # The manifest, the index, and of manifests and tags one partition each, unless one is divided.
    assert 4 <= len(written) <= 6
    async with bucket.counted() as made:
        assert await reader.tag_digest(APP, "new") == digest
    assert len([one for one in made if one.startswith("GET")]) <= 1 + 4
    assert dict(await reader.pushed_tags(APP)) == {**tags, "new": digest}


async def test_what_is_replaced_is_removed_and_nothing_else(bucket: Bucket) -> None:
    tags = await filled(bucket)
    registry = await bucket.another()
    # Each push has removed what the one before it replaced.
    assert len(bucket.contents()) - len(bucket.documents()) <= len(tags) + 1 + 6
    await bucket.everything_old(registry)
    assert bucket.documents() < bucket.contents()
    assert len(bucket.contents()) == len(bucket.documents()) + len(tags) + 1
    assert dict(await (await bucket.another()).pushed_tags(APP)) == tags


async def test_an_index_of_one_document_is_divided_by_the_next_push_and_one_again_when_pruned(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as before:
        for module in (partitions, index_storage):
            before.setattr(module, "MOST_ITEMS", 1000)
        tags = await filled(bucket, 20)
        assert bucket.version() == 1
    registry = await bucket.another()
    tags["new"] = await put(registry, "new")
    assert bucket.version() == 2
    assert dict(await (await bucket.another()).pushed_tags(APP)) == tags
    for digest in set(tags.values()) - {tags["v3"]}:
        await registry.delete_manifest(APP, digest)
    assert bucket.version() == 1
    assert dict(await (await bucket.another()).pushed_tags(APP)) == {"v3": tags["v3"]}
    await put(registry, "again")
    await bucket.everything_old(registry)
    # Two manifests and their configuration, and what makes five items a large index here.
    assert len(bucket.contents()) == 3 + len(bucket.documents())


async def test_few_partitions_are_left_of_many_that_are_nearly_empty(bucket: Bucket) -> None:
    tags = await filled(bucket)
    registry = await bucket.another()
    before = len(bucket.documents())
    for number in range(35):
        await registry.delete_manifest(APP, tags.pop(f"v{number}"))
    assert bucket.version() == 2
    assert len(bucket.documents()) < before / 2
    assert dict(await (await bucket.another()).pushed_tags(APP)) == tags


async def test_replicas_that_push_at_once_lose_nothing_while_answers_are_lost(
    bucket: Bucket,
) -> None:
    tags = await filled(bucket, 10)
    seen = set[str]()

    def is_first(request: web.BaseRequest) -> bool:
        """Lose the first answer to every other request that changes something."""
        name = f"{request.method} {request.path_qs} {request.headers.get('If-Match')}"
        is_new = request.method != "GET" and name not in seen
        seen.add(name)
        return is_new and len(seen) % 2 == 0

    replicas = [await bucket.another() for _ in "abc"]
    bucket.s3.drops_answers = is_first

    async def push_all(registry: BucketRegistry, who: str) -> None:
        for number in range(5):
            tags[f"{who}{number}"] = await put(registry, f"{who}{number}")

    await asyncio.gather(*map(push_all, replicas, "abc"))
    bucket.s3.drops_answers = lambda _: False
    survivor = await bucket.another()
    assert dict(await survivor.pushed_tags(APP)) == tags
    await put(survivor, "last")
    await bucket.everything_old(survivor)
    for digest in tags.values():
        await (await bucket.another()).read_manifest(APP, digest)


@on_either_side_of_a_request(
    "tests/integration/registry/bucket/test_bucket_indexes.py"
    "::test_replicas_that_push_at_once_lose_nothing_while_answers_are_lost"
)
async def test_a_replica_that_dies_at_any_request_leaves_an_index(
    bucket: Bucket,
    is_carried_out: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    tags = await filled(bucket, 6)
    steps = 0
    while True:
        registry = await bucket.another()
        mark, is_dead = f"push {steps}", False
        with dying_after(bucket.s3, steps, is_carried_out=is_carried_out):
            try:
                await put(registry, mark, f"step{steps}")
            except RegistryError:
                is_dead = True
        survivor = await bucket.another()
        found = dict(await survivor.pushed_tags(APP))
        assert found in (tags, {**tags, f"step{steps}": Digest.of(image(mark))})
        tags = found
        if not is_dead:
            break
        await put(survivor, "v1")
        await bucket.everything_old(survivor)
        assert set(await survivor.manifests_in(APP)) >= set(tags.values())
        assert bucket.documents() < bucket.contents()
        steps += 1
    assert steps > 4


async def test_a_reader_whose_index_is_replaced_meanwhile_reads_the_new_one(bucket: Bucket) -> None:
    tags = await filled(bucket)
    writer, reader = await bucket.another(), await bucket.another()
    pushed = dict[str, Digest]()

    await writer.tag_digest(APP, "v1")
    before, replacing = bucket.documents(), asyncio.Lock()

    async def between(request: web.BaseRequest) -> None:
        if request.method != "GET" or "contents/" not in request.path:
            return
        async with replacing:
            if not pushed:
                pushed["moved"] = await put(writer, "moved")
                for gone in before - bucket.documents():
                    bucket.s3.objects.pop(gone, None)

    bucket.s3.fault = between
    assert dict(await reader.pushed_tags(APP)) == {**tags, **pushed}
    assert pushed


async def test_an_index_that_lacks_a_part_is_neither_believed_nor_written_over(
    bucket: Bucket,
) -> None:
    await filled(bucket)
    raw = bucket.s3.objects[INDEX].raw
    gone = min(bucket.documents())
    kept = bucket.s3.objects.pop(gone)
    registry = await bucket.another()
    for work in (
        lambda: registry.pushed_tags(APP),
        lambda: put(registry, "new"),
        registry.collect_garbage,
    ):
        with pytest.raises(BucketAnswerError, match="restore the bucket"):
            await work()
    kept.raw = b"[" + kept.raw[1:]
    bucket.s3.objects[gone] = kept
    with pytest.raises(BucketAnswerError, match="no part of an index"):
        await registry.pushed_tags(APP)
    assert bucket.s3.objects[INDEX].raw == raw


async def test_a_writer_that_was_stopped_links_nothing_that_may_be_collected(
    bucket: Bucket,
) -> None:
    tags = await filled(bucket)
    writer = await bucket.another()
    await writer.tag_digest(APP, "v1")
    collected = list[str]()

    def stop(request: web.BaseRequest) -> bool:
        """Stop the writer for days once a partition is written, which is collected meanwhile."""
        if request.method == "PUT" and "contents/" in request.path and not collected:
            collected.append(request.path.removeprefix("/images/"))
            del bucket.s3.objects[collected[0]]
            bucket.now += 3 * 24 * 3600
        return False

    bucket.s3.drops_answers = stop
    await writer.tag(APP, "other", tags["v1"])
    assert collected
    await writer.tag(APP, "another", tags["v2"])
    found = dict(await (await bucket.another()).pushed_tags(APP))
    assert found == {**tags, "other": tags["v1"], "another": tags["v2"]}


async def test_names_that_hold_nothing_are_not_kept_for_ever(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexes, "_CACHED_BYTES", 20 * 1024)
    registry = await bucket.another()
    for number in range(100):
        assert await registry.tag_digest(f"team/none{number}", "v1") is None
    assert len(registry._indexes._cached) <= 20
