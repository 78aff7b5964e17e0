"""Contract of the S3 servers that tests use: the strict one in memory does what moto does."""

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path

import pytest
from tests.support.s3.moto import moto_s3
from tests.support.s3.strict_server import LEAST_PART, bucket_at, strict_s3

from upwell.registry.bucket.probe import require_fit
from upwell.registry.s3.client import IfMatch, S3Bucket
from upwell.registry.s3.errors import BucketError, BucketRefusedError, PreconditionError

ROUNDS, WRITERS = 10, 8


@pytest.fixture(params=["strict", "moto"])
async def bucket(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[S3Bucket]:
    async with AsyncExitStack() as stack:
        if request.param == "strict":
            url = (await stack.enter_async_context(strict_s3())).url
        else:
            url = stack.enter_context(moto_s3()).url
        opened = bucket_at(url, tmp_path, prefix=f"{tmp_path.name}/")
        yield await stack.enter_async_context(opened)


@contextmanager
def hasty_threads() -> Iterator[None]:
    """Have threads give way to one another as often as they may."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


async def wins(bucket: S3Bucket, key: str, raw: bytes, condition: IfMatch) -> bool:
    try:
        await bucket.put(key, raw, condition)
    except PreconditionError:
        return False
    return True


async def test_it_is_fit_for_replicas(bucket: S3Bucket) -> None:
    await require_fit(bucket)
    assert [one async for one in bucket.objects("")] == []


@pytest.mark.parametrize("is_there", [False, True])
async def test_one_of_several_conditional_writes_wins(bucket: S3Bucket, *, is_there: bool) -> None:
    with hasty_threads():
        for number in range(ROUNDS):
            key = f"key-{number}"
            condition = IfMatch(await bucket.put(key, b"first") if is_there else None)
            raws = [b"of writer %d" % writer for writer in range(WRITERS)]
            won = await asyncio.gather(*(wins(bucket, key, raw, condition) for raw in raws))
            found = await bucket.get(key, 100)
            assert found is not None
            assert [raw for raw, has in zip(raws, won, strict=True) if has] == [found.raw]


async def test_a_condition_on_what_is_gone_is_not_met(bucket: S3Bucket) -> None:
    etag = await bucket.put("key", b"1")
    await bucket.delete("key")
    assert not await wins(bucket, "key", b"2", IfMatch(etag))
    assert await bucket.get("key", 1) is None


async def test_an_unchanged_object_is_not_sent_again(bucket: S3Bucket) -> None:
    etag = await bucket.put("key", b"content")
    same = await bucket.get("key", 100, etag)
    assert same is not None
    assert (same.raw, same.etag) == (b"", etag)
    await bucket.put("key", b"another")
    changed = await bucket.get("key", 100, etag)
    assert changed is not None
    assert (changed.raw, changed.etag != etag) == (b"another", True)


async def test_a_span_is_what_was_asked_for(bucket: S3Bucket) -> None:
    await bucket.put("key", bytes(range(100)))
    async with bucket.stream("key", range(10, 20)) as pieces:
        assert pieces is not None
        assert b"".join([piece async for piece in pieces]) == bytes(range(10, 20))
    assert await bucket.size("key") == 100


async def test_parts_become_one_object(bucket: S3Bucket) -> None:
    upload = await bucket.begin_upload("key")
    assert [one.upload async for one in bucket.uploads("")] == [upload]
    parts = [
        await bucket.put_part("key", upload, number, raw)
        for number, raw in ((1, b"a" * LEAST_PART), (2, b"b"))
    ]
    assert await bucket.size("key") is None
    await bucket.complete_upload("key", upload, parts)
    found = await bucket.get("key", LEAST_PART + 1)
    assert found is not None
    assert found.raw == b"a" * LEAST_PART + b"b"
    assert [one async for one in bucket.uploads("")] == []


async def test_a_part_that_is_too_small_is_refused(bucket: S3Bucket) -> None:
    upload = await bucket.begin_upload("key")
    parts = [await bucket.put_part("key", upload, number, b"small") for number in (1, 2)]
    with pytest.raises(BucketRefusedError, match="EntityTooSmall"):
        await bucket.complete_upload("key", upload, parts)


async def test_an_upload_that_is_dropped_is_gone(bucket: S3Bucket) -> None:
    upload = await bucket.begin_upload("key")
    await bucket.put_part("key", upload, 1, b"1")
    await bucket.abort_upload("key", upload)
    with pytest.raises(BucketError):  # moto's answer is 500
        await bucket.put_part("key", upload, 2, b"2")
    assert [one async for one in bucket.uploads("")] == []


async def test_a_listing_has_what_begins_so_in_its_order(bucket: S3Bucket) -> None:
    for key in ("b/2", "a/1", "b/1"):
        await bucket.put(key, key.encode())
    found = [one async for one in bucket.objects("b/")]
    assert [(one.key, one.size) for one in found] == [("b/1", 3), ("b/2", 3)]
    await bucket.delete("b/1")
    assert [one.key async for one in bucket.objects("b/")] == ["b/2"]
