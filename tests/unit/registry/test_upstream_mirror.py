"""Copies of upstream images: each digest once, across restarts, until it is pruned."""

import asyncio
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.support.builds.memory_builds import (
    AMD64,
    ARM64,
    INTERNAL,
    VENDOR,
    Vendor,
    push,
    push_index,
)

from upwell.oci import Digest, Platform, Reference
from upwell.oci.index_tags import index_tag
from upwell.registry.embedded import EmbeddedRegistry
from upwell.registry.errors import InvalidAnswerError
from upwell.registry.interface import DEFAULT_ACCESS
from upwell.registry.mirror import Mirror, mirror_repository


@dataclass
class Site:
    vendor: Vendor
    internal: EmbeddedRegistry
    amd64: Digest
    index: Digest

    def mirror(self, platform: Platform = AMD64) -> Mirror:
        """A mirror as a new process has it."""
        return Mirror(self.vendor, self.internal, platform)

    @property
    def base(self) -> Reference:
        return Reference(VENDOR, "base", digest=self.index)


@pytest.fixture
async def site(tmp_path: Path) -> Site:
    vendor = Vendor(EmbeddedRegistry(tmp_path / "vendor", VENDOR))
    amd64 = await push(vendor.registry, "base:amd64", "amd64")
    arm64 = await push(vendor.registry, "base:arm64", "arm64")
    index = await push_index(vendor.registry, "base:1", {AMD64: amd64, ARM64: arm64})
    internal = EmbeddedRegistry(tmp_path / "internal", INTERNAL)
    return Site(vendor, internal, amd64, index)


async def test_an_index_is_fetched_once_for_all_builds_and_restarts(site: Site) -> None:
    mirror = site.mirror()
    async with asyncio.TaskGroup() as group:
        fetches = [group.create_task(mirror.fetch(site.base, DEFAULT_ACCESS)) for _ in range(3)]
    later = await site.mirror().fetch(site.base, DEFAULT_ACCESS)

    wanted = Reference(INTERNAL, f"upstream/{VENDOR}/base", digest=site.amd64)
    assert [task.result() for task in fetches] == [wanted] * 3
    assert later == wanted
    assert site.vendor.requests == [
        f"GET {VENDOR}/base@{site.index}",
        f"GET {VENDOR}/base@{site.amd64}",
    ]


async def test_a_machine_of_another_platform_finds_its_own_image(site: Site) -> None:
    first = await site.mirror(AMD64).fetch(site.base, DEFAULT_ACCESS)
    other = await site.mirror(ARM64).fetch(site.base, DEFAULT_ACCESS)

    assert first.digest == site.amd64 != other.digest


async def test_what_was_pruned_is_fetched_again(site: Site) -> None:
    repository = mirror_repository(site.base)
    await site.mirror().fetch(site.base, DEFAULT_ACCESS)
    tag = index_tag(site.index, AMD64)
    assert tag is not None
    await site.internal.untag(repository, tag)
    await site.internal.delete_manifest(repository, site.amd64)

    fetched = await site.mirror().fetch(site.base, DEFAULT_ACCESS)

    assert await site.internal.has_manifest(repository, site.amd64)
    assert fetched.digest == site.amd64


async def test_an_index_without_our_platform_is_refused(site: Site) -> None:
    with pytest.raises(InvalidAnswerError, match="no image for linux/s390x"):
        await site.mirror(Platform("linux", "s390x")).fetch(site.base, DEFAULT_ACCESS)
