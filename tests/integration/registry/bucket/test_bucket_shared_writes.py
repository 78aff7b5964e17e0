"""Changes of one repository of a bucket that come at once: one write takes them all."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from aiohttp import web
from tests.support.registry.hosted_images import CONFIG, image, push_blob
from tests.support.s3.strict_server import StrictS3, bucket_at, error, strict_s3
from tests.support.store.leader_terms import Term

from upwell.oci import Digest, MediaType
from upwell.registry.bucket import indexes
from upwell.registry.bucket.registry import BucketRegistry
from upwell.registry.errors import ManifestUnknownError, RegistryError
from upwell.registry.hosting import ManifestPush, StorageFullError
from upwell.registry.s3.errors import BucketRefusedError
from upwell.store.fence import fenced_context, require_fence
from upwell.store.interface import StoreError, UnavailableError

APP = "team/app"
INDEX = f"PUT /images/ours/repositories/{APP}/_index"
MANY = 20
UNKNOWN = Digest.of(b"nowhere")


@pytest.fixture
async def s3() -> AsyncIterator[StrictS3]:
    async with strict_s3() as served:
        yield served


@pytest.fixture
async def registry(s3: StrictS3, tmp_path: Path) -> AsyncIterator[BucketRegistry]:
    async with bucket_at(s3.url, tmp_path) as bucket:
        made = BucketRegistry(bucket, "registry.internal:5000", fence=require_fence)
        await push_blob(made, APP, CONFIG)
        yield made


@pytest.fixture
async def digest(registry: BucketRegistry) -> Digest:
    return await push(registry, "first")


async def push(registry: BucketRegistry, mark: str) -> Digest:
    kind = str(MediaType.OCI_MANIFEST)
    return (await registry.put_manifest(ManifestPush(APP, image(mark), kind, mark))).digest


@contextmanager
def held_index_writes(s3: StrictS3) -> Iterator[asyncio.Event]:
    """Hold writes of the index until the block ends; yield what says that one has come."""
    has_come, may_go = asyncio.Event(), asyncio.Event()

    async def hold(request: web.BaseRequest) -> web.StreamResponse | None:
        if f"{request.method} {request.path}" == INDEX:
            has_come.set()
            await may_go.wait()
        return None

    s3.fault = hold
    try:
        yield has_come
    finally:
        may_go.set()


async def outcome(work: Awaitable[object]) -> type[Exception] | None:
    try:
        await work
    except (RegistryError, StoreError) as refused:
        return type(refused)
    return None


async def test_tags_that_are_pushed_at_once_share_writes(
    s3: StrictS3, registry: BucketRegistry
) -> None:
    before = s3.requests.count(INDEX)
    pushed = await asyncio.gather(*(push(registry, f"v{number}") for number in range(MANY)))
    assert s3.requests.count(INDEX) - before < MANY / 2
    assert dict(await registry.pushed_tags(APP)) == {
        f"v{number}": digest for number, digest in enumerate(pushed)
    }


async def test_each_change_of_a_write_has_a_result_of_its_own(
    s3: StrictS3, registry: BucketRegistry, digest: Digest
) -> None:
    with held_index_writes(s3) as has_come:
        holding = asyncio.create_task(registry.tag(APP, "held", digest))
        await has_come.wait()
        before = s3.requests.count(INDEX)
        works = [
            registry.tag(APP, "a", digest),
            registry.tag(APP, "b", UNKNOWN),
            registry.untag(APP, "a"),
            registry.untag(APP, "a"),
            registry.tag(APP, "c", digest),
            registry.delete_manifest(APP, UNKNOWN),
        ]
        found = [asyncio.create_task(outcome(work)) for work in works]
        await asyncio.sleep(0)  # each has joined the queue
    refused = ManifestUnknownError
    assert await asyncio.gather(*found) == [None, refused, None, refused, None, refused]
    await holding
    assert s3.requests.count(INDEX) - before == 1
    assert dict(await registry.pushed_tags(APP)) == dict.fromkeys(("first", "held", "c"), digest)


async def test_who_goes_away_takes_nobody_elses_change_along(
    s3: StrictS3, registry: BucketRegistry, digest: Digest
) -> None:
    with held_index_writes(s3) as has_come:
        first = asyncio.create_task(registry.tag(APP, "first-of-all", digest))
        await has_come.wait()
        gone = asyncio.create_task(registry.tag(APP, "gone", digest))
        stays = asyncio.create_task(registry.tag(APP, "stays", digest))
        await asyncio.sleep(0)  # both have joined the queue
        first.cancel()
        gone.cancel()
    await stays
    assert await registry.tag_digest(APP, "stays") == digest
    assert await registry.tag_digest(APP, "gone") is None


async def test_a_write_that_fails_is_told_to_all_and_the_next_one_goes_on(
    s3: StrictS3, registry: BucketRegistry, digest: Digest
) -> None:
    async def refuse(request: web.BaseRequest) -> web.StreamResponse | None:
        return error(403, "AccessDenied") if f"{request.method} {request.path}" == INDEX else None

    s3.fault = refuse
    works = (outcome(registry.tag(APP, f"v{number}", digest)) for number in range(MANY))
    assert await asyncio.gather(*works) == [BucketRefusedError] * MANY
    s3.fault = None
    await registry.tag(APP, "after", digest)
    assert dict(await registry.pushed_tags(APP)) == dict.fromkeys(("first", "after"), digest)


async def test_one_that_is_too_much_is_refused_alone(
    s3: StrictS3, registry: BucketRegistry, digest: Digest, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = len(s3.objects[INDEX.removeprefix("PUT /images/")].raw) + 200
    monkeypatch.setattr(indexes, "MAX_INDEX_BYTES", room)
    with held_index_writes(s3) as has_come:
        holding = asyncio.create_task(registry.tag(APP, "first", digest))
        tasks = [
            asyncio.create_task(outcome(registry.tag(APP, name, digest)))
            for name in ("a", "long" * 25, "b")
        ]
        await has_come.wait()
    assert await asyncio.gather(*tasks) == [None, StorageFullError, None]
    await holding
    assert [tag for tag, _ in await registry.pushed_tags(APP)] == ["a", "b", "first"]


async def test_a_deposed_leader_writes_nothing_and_clients_beside_it_do(
    s3: StrictS3, registry: BucketRegistry, digest: Digest
) -> None:
    with held_index_writes(s3) as has_come:
        term = Term()
        holding = asyncio.create_task(registry.tag(APP, "held", digest))
        await has_come.wait()
        led = asyncio.create_task(
            outcome(registry.tag(APP, "led", digest)), context=fenced_context(term)
        )
        served = asyncio.create_task(outcome(registry.tag(APP, "served", digest)))
        await asyncio.sleep(0)  # both have joined the queue
        term.over = True
    assert await led is UnavailableError
    assert await served is None
    await holding
    assert [tag for tag, _ in await registry.pushed_tags(APP)] == ["first", "held", "served"]


async def test_a_leader_that_is_deposed_in_a_write_of_its_own_writes_nothing(
    registry: BucketRegistry, digest: Digest
) -> None:
    led = outcome(registry.tag(APP, "led", digest))
    context = fenced_context(Term(over=True))
    assert await asyncio.create_task(led, context=context) is UnavailableError
    await registry.tag(APP, "after", digest)
    assert [tag for tag, _ in await registry.pushed_tags(APP)] == ["after", "first"]
