"""Copies of upstream images: each digest once, across restarts, until it is pruned."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.support.builds.memory_builds import (
    AMD64,
    ARM64,
    CONFIG,
    INTERNAL,
    VENDOR,
    UpstreamRegistry,
    push,
    push_index,
)

from upwell.oci import Digest, Platform, Reference
from upwell.oci.copies import public_view
from upwell.oci.index_tags import index_tag
from upwell.registry.embedded import EmbeddedRegistry
from upwell.registry.errors import InvalidAnswerError, RegistryError
from upwell.registry.interface import DEFAULT_ACCESS
from upwell.registry.mirror import Mirror, mirror_repository


@dataclass
class MirroredRegistry:
    vendor: UpstreamRegistry
    internal: EmbeddedRegistry
    amd64: Digest
    index: Digest

    def mirror(self, platform: Platform = AMD64) -> Mirror:
        """A mirror as a new process has it."""
        return Mirror(self.vendor, self.internal, platform)

    @property
    def base(self) -> Reference:
        return Reference(VENDOR, "base", digest=self.index)

    async def fetch(self) -> Reference:
        """Fetch the image as the first build of a new process does."""
        return await self.mirror().fetch(self.base, DEFAULT_ACCESS, "shop")


@pytest.fixture
async def mirrored(tmp_path: Path) -> MirroredRegistry:
    vendor = UpstreamRegistry(EmbeddedRegistry(tmp_path / "vendor", VENDOR))
    amd64 = await push(vendor.registry, "base:amd64", "amd64")
    arm64 = await push(vendor.registry, "base:arm64", "arm64")
    index = await push_index(vendor.registry, "base:1", {AMD64: amd64, ARM64: arm64})
    internal = EmbeddedRegistry(tmp_path / "internal", INTERNAL)
    return MirroredRegistry(vendor, internal, amd64, index)


async def test_an_index_is_fetched_once_for_all_builds_and_restarts(
    mirrored: MirroredRegistry,
) -> None:
    mirror = mirrored.mirror()
    async with asyncio.TaskGroup() as group:
        fetches = [
            group.create_task(mirror.fetch(mirrored.base, DEFAULT_ACCESS, namespace))
            for namespace in ("shop", "shop", "bank")
        ]
    later = await mirrored.mirror().fetch(mirrored.base, DEFAULT_ACCESS, "shop")

    wanted = Reference(INTERNAL, f"upstream/public/{VENDOR}/base", digest=mirrored.amd64)
    assert [task.result() for task in fetches] == [wanted] * 3
    assert later == wanted
    assert mirrored.vendor.requests == [
        f"GET {VENDOR}/base@{mirrored.index}",
        f"GET {VENDOR}/base@{mirrored.amd64}",
    ]


async def test_a_machine_of_another_platform_finds_its_own_image(
    mirrored: MirroredRegistry,
) -> None:
    first = await mirrored.mirror(AMD64).fetch(mirrored.base, DEFAULT_ACCESS, "shop")
    other = await mirrored.mirror(ARM64).fetch(mirrored.base, DEFAULT_ACCESS, "shop")

    assert first.digest == mirrored.amd64 != other.digest


async def test_what_was_pruned_is_fetched_again(mirrored: MirroredRegistry) -> None:
    repository = mirror_repository(mirrored.base)
    await mirrored.mirror().fetch(mirrored.base, DEFAULT_ACCESS, "shop")
    tag = index_tag(mirrored.index, AMD64)
    assert tag is not None
    for held in (repository, public_view(repository)):
        await mirrored.internal.untag(held, tag)
        await mirrored.internal.delete_manifest(held, mirrored.amd64)

    fetched = await mirrored.mirror().fetch(mirrored.base, DEFAULT_ACCESS, "shop")

    assert await mirrored.internal.has_manifest(repository, mirrored.amd64)
    assert fetched.digest == mirrored.amd64


async def test_an_index_without_our_platform_is_refused(mirrored: MirroredRegistry) -> None:
    mirror = mirrored.mirror(Platform("linux", "s390x"))
    with pytest.raises(InvalidAnswerError, match="no image for linux/s390x"):
        await mirror.fetch(mirrored.base, DEFAULT_ACCESS, "shop")


async def test_a_layer_without_end_is_left_at_the_size_that_its_manifest_says(
    mirrored: MirroredRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = 0

    @asynccontextmanager
    async def open_blob(*_: object) -> AsyncIterator[AsyncIterator[bytes]]:
        async def endless() -> AsyncIterator[bytes]:
            nonlocal given
            while True:
                given += 4096
                yield bytes(4096)

        yield endless()

    monkeypatch.setattr(mirrored.vendor, "open_blob", open_blob)
    with pytest.raises(InvalidAnswerError, match=r"has more than the \d+ bytes of its manifest"):
        await mirrored.mirror().fetch(mirrored.base, DEFAULT_ACCESS, "shop")
    assert given < 1_000_000
    assert await mirrored.internal.storage_used("upstream") == 0, "and nothing of it is kept"


@pytest.mark.parametrize("part", ["manifest", "config"])
async def test_a_copy_that_is_damaged_on_the_disk_is_fetched_from_its_source_again(
    mirrored: MirroredRegistry, tmp_path: Path, part: str
) -> None:
    fetched = await mirrored.fetch()
    named = Digest.of(CONFIG) if part == "config" else mirrored.amd64
    (content,) = (tmp_path / "internal" / "blobs").rglob(named.hex)
    content.write_bytes(b"damaged")
    with pytest.raises(RegistryError):
        await pulled(mirrored.internal, fetched.repository, mirrored.amd64)
    mirrored.vendor.requests.clear()

    assert await mirrored.fetch() == fetched
    assert await pulled(mirrored.internal, fetched.repository, mirrored.amd64) == CONFIG
    assert mirrored.internal.damage() == {}
    asked = len(mirrored.vendor.requests)
    await mirrored.fetch()
    assert len(mirrored.vendor.requests) == asked


async def pulled(registry: EmbeddedRegistry, repository: str, image: Digest) -> bytes:
    """Return the configuration of an image, after its manifest."""
    await registry.read_manifest(repository, image)
    config = Digest.of(CONFIG)
    size = await registry.blob_size(repository, config, verified=True)
    async with registry.read_blob(repository, config, range(size)) as chunks:
        return b"".join([chunk async for chunk in chunks])
