"""Content of a bucket that was met as damaged: looked at again, and served once it is whole."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from aiohttp import web
from tests.support.builds.memory_builds import (
    AMD64,
    VENDOR,
    UpstreamRegistry,
    push,
    push_index,
)
from tests.support.component_reports import running, state
from tests.support.registry.hosted_images import push_blob
from tests.support.s3.strict_server import StrictS3, bucket_at, strict_s3

from upwell.app import cleanup
from upwell.app.cleanup import IN_BUCKET, scrub_bucket, watch_registry
from upwell.machine.backoff import Backoff
from upwell.machine.components import Components
from upwell.oci import Digest, Reference
from upwell.registry.bucket.registry import BucketRegistry
from upwell.registry.embedded import EmbeddedRegistry
from upwell.registry.errors import BlobUnknownError, RegistryError
from upwell.registry.interface import DEFAULT_ACCESS
from upwell.registry.mirror import Mirror
from upwell.registry.s3.client import S3Bucket

APP = "team/app"
SIZES = pytest.mark.parametrize("size", [1_000, 600_000], ids=["read whole", "streamed"])


@dataclass
class SpoilingBucket:
    s3: StrictS3
    bucket: S3Bucket

    @property
    def registry(self) -> BucketRegistry:
        return BucketRegistry(self.bucket, "registry.test:5000")

    def spoil(self) -> None:
        """Have other bytes answered for all content."""

        async def spoilt(request: web.BaseRequest) -> web.StreamResponse | None:
            if request.method != "GET" or "contents/" not in request.path:
                return None
            _, _, last = request.headers.get("Range", "").rpartition("-")
            if last:
                return web.Response(status=206, body=b"y" * (int(last) + 1))
            return web.Response(body=b"y")

        self.s3.fault = spoilt


@pytest.fixture
async def spoiling(tmp_path: Path) -> AsyncIterator[SpoilingBucket]:
    async with strict_s3() as s3, bucket_at(s3.url, tmp_path) as bucket:
        yield SpoilingBucket(s3, bucket)


async def read(registry: BucketRegistry, digest: Digest, size: int) -> bytes:
    async with registry.read_blob(APP, digest, range(size)) as chunks:
        return b"".join([chunk async for chunk in chunks])


@SIZES
async def test_what_two_answers_spoil_is_served_again_once_a_look_finds_it_whole(
    spoiling: SpoilingBucket, size: int
) -> None:
    digest = await push_blob(spoiling.registry, APP, b"x" * size)
    reader = spoiling.registry
    spoiling.spoil()
    with pytest.raises(RegistryError):
        await read(reader, digest, size)
    assert await reader.scrub() == size
    assert reader.damage() == {APP: [f"content {digest}"]}

    spoiling.s3.fault = None
    with pytest.raises(BlobUnknownError):
        await reader.blob_size(APP, digest)
    assert await reader.scrub() == size
    assert reader.damage() == {}
    assert await read(reader, digest, size) == b"x" * size
    assert await reader.scrub() == 0


@SIZES
async def test_what_is_gone_stays_damaged_until_nothing_links_it(
    spoiling: SpoilingBucket, size: int
) -> None:
    digest = await push_blob(spoiling.registry, APP, b"x" * size)
    for key in [one for one in spoiling.s3.objects if "contents/" in one]:
        del spoiling.s3.objects[key]
    reader = spoiling.registry
    with pytest.raises(BlobUnknownError):
        await read(reader, digest, size)
    await reader.scrub()
    assert reader.damage() == {APP: [f"content {digest}"]}

    await spoiling.registry.delete_blob(APP, digest)
    await reader.scrub()
    assert reader.damage() == {}


async def test_a_server_tells_of_what_its_bucket_has_spoilt_until_it_is_whole(
    spoiling: SpoilingBucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cleanup, "_DAMAGE_SECONDS", 0.01)
    monkeypatch.setattr(cleanup, "_LOOKS_AGAIN", Backoff(0.01, 0.05))
    digest = await push_blob(spoiling.registry, APP, b"x" * 1_000)
    reader, components = spoiling.registry, Components()
    spoiling.spoil()
    with pytest.raises(RegistryError):
        await read(reader, digest, 1_000)
    async with (
        running(watch_registry(reader, components, IN_BUCKET)),
        running(scrub_bucket(reader)),
    ):
        found = await state(components, lambda one: one.faulty)
        assert found.message.startswith(f"content {digest} of {APP}: damaged in the bucket")
        assert "disk" not in found.message
        spoiling.s3.fault = None
        await state(components, lambda one: not one.faulty)
    assert await read(reader, digest, 1_000) == b"x" * 1_000


@pytest.mark.parametrize(
    "span", [range(600_000), range(500_000, 600_000), range(100_000, 600_000)], ids=str
)
async def test_large_content_that_was_cut_short_is_told_and_healed_by_a_push(
    spoiling: SpoilingBucket, span: range
) -> None:
    pushed = b"x" * 600_000
    digest = await push_blob(spoiling.registry, APP, pushed)
    [key] = [one for one in spoiling.s3.objects if "contents/" in one]
    stored = spoiling.s3.objects[key]
    spoiling.s3.objects[key] = replace(stored, raw=stored.raw[:400_000])
    reader = spoiling.registry
    with pytest.raises(RegistryError):
        async with reader.read_blob(APP, digest, span) as chunks:
            _ = [chunk async for chunk in chunks]
    assert reader.damage() == {APP: [f"content {digest}"]}
    with pytest.raises(BlobUnknownError):  # so that a client pushes it
        await reader.blob_size(APP, digest)
    assert await push_blob(reader, APP, pushed) == digest
    assert await read(reader, digest, len(pushed)) == pushed
    await reader.scrub()
    assert reader.damage() == {}


async def test_large_content_whose_answer_breaks_off_is_not_damaged(
    spoiling: SpoilingBucket,
) -> None:
    digest = await push_blob(spoiling.registry, APP, b"x" * 600_000)

    async def short(request: web.BaseRequest) -> web.StreamResponse | None:
        is_read = request.method == "GET" and "contents/" in request.path
        return web.Response(status=206, body=b"x" * 1000) if is_read else None

    spoiling.s3.fault = short
    reader = spoiling.registry
    with pytest.raises(RegistryError):
        await read(reader, digest, 600_000)
    assert reader.damage() == {}
    spoiling.s3.fault = None
    assert await read(reader, digest, 600_000) == b"x" * 600_000


@pytest.mark.parametrize("part", ["manifest", "config"])
@pytest.mark.parametrize("is_index", [False, True], ids=["image", "index"])
async def test_a_mirrored_image_that_is_damaged_is_fetched_from_its_source_again(
    spoiling: SpoilingBucket, tmp_path: Path, part: str, *, is_index: bool
) -> None:
    vendor = UpstreamRegistry(EmbeddedRegistry(tmp_path / "vendor", VENDOR))
    config = b"configuration" * 100
    image = await push(vendor.registry, "base:amd64", "amd64", config)
    pinned = await push_index(vendor.registry, "base:1", {AMD64: image}) if is_index else image
    base = Reference(VENDOR, "base", digest=pinned)
    first = spoiling.registry
    copy = await Mirror(vendor, first, AMD64).fetch(base, DEFAULT_ACCESS, "shop")
    assert copy.digest == image
    raw = config if part == "config" else await first.read_manifest(copy.repository, image)
    for key in [key for key, one in spoiling.s3.objects.items() if one.raw == raw]:
        spoiling.s3.objects[key] = replace(spoiling.s3.objects[key], raw=b"y" * len(raw))

    reader = spoiling.registry
    with pytest.raises(RegistryError):
        await pulled(reader, copy.repository, image, config)
    assert await Mirror(vendor, reader, AMD64).fetch(base, DEFAULT_ACCESS, "shop") == copy

    assert await pulled(reader, copy.repository, image, config) == config
    await reader.scrub()
    assert reader.damage() == {}


async def pulled(reader: BucketRegistry, repository: str, image: Digest, config: bytes) -> bytes:
    """Return the configuration of an image, after its manifest."""
    await reader.read_manifest(repository, image)
    async with reader.read_blob(repository, Digest.of(config), range(len(config))) as chunks:
        return b"".join([chunk async for chunk in chunks])
