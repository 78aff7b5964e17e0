"""Which images are indexed; what is in them is the inventory's business."""

from pathlib import Path

import pytest
from tests.support.builds.memory_builds import (
    AMD64,
    ARM64,
    NAMESPACE,
    VENDOR,
    BuildMachine,
    image_stream,
    imported,
    push,
    push_index,
    stream_key,
)
from tests.support.inventory.layer_archives import layer
from tests.support.inventory.memory import InventoryInMemory

from upwell.inventory.interface import InventoryError
from upwell.oci import Digest
from upwell.reconcilers.images.packages import ImageContents
from upwell.registry.errors import RegistryUnavailableError, UnauthorizedError
from upwell.registry.routed import RoutedRegistry

KEY = stream_key("debian")
LIBC = layer(("var/lib/dpkg/status", "Package: libc6\nVersion: 2.31\n"))


class Site:
    """A stream that imports debian:11, and the reconciler of its contents."""

    def __init__(self, folder: Path) -> None:
        self.machine = BuildMachine(folder)
        self.streams = self.machine.streams()
        self.inventory = InventoryInMemory()
        self.streams = self.machine.streams()
        registries = RoutedRegistry(self.machine.internal, self.machine.vendor)
        self.contents = ImageContents(
            self.machine.store, registries, self.inventory, self.machine.secrets, AMD64
        )

    async def publish(self, mark: str) -> Digest:
        digest = await push(self.machine.vendor.registry, "debian:11", mark, layers=[LIBC])
        await self.take_in()
        return digest

    async def take_in(self) -> None:
        self.machine.clock.advance(3600)
        await self.streams.reconcile(KEY)


@pytest.fixture
async def site(tmp_path: Path) -> Site:
    site = Site(tmp_path)
    tag = imported("11", f"{VENDOR}/debian:11", scheduled=True)
    await site.machine.store.create(image_stream("debian", tag))
    return site


async def test_the_two_newest_digests_are_indexed_once(site: Site) -> None:
    _, second, third = [await site.publish(mark) for mark in ("first", "second", "third")]
    await site.contents.reconcile(KEY)
    await site.contents.reconcile(KEY)
    assert site.inventory.reads == {second: 1, third: 1}


async def test_an_index_is_known_by_its_own_digest(site: Site) -> None:
    registry = site.machine.vendor.registry
    images = {
        AMD64: await push(registry, "debian:a", "a"),
        ARM64: await push(registry, "debian:b", "b"),
    }
    digest = await push_index(registry, "debian:11", images)
    await site.take_in()
    await site.contents.reconcile(KEY)
    assert set(site.inventory.indexed) == {digest}


async def test_an_index_without_our_platform_is_passed_over(site: Site) -> None:
    registry = site.machine.vendor.registry
    await push_index(registry, "debian:11", {ARM64: await push(registry, "debian:b", "b")})
    await site.take_in()
    await site.contents.reconcile(KEY)
    assert site.inventory.indexed == {}


async def test_what_was_built_or_pushed_here_is_indexed_too(site: Site) -> None:
    digest = await push(site.machine.internal, f"{NAMESPACE}/debian:own", "own")
    await site.take_in()
    await site.contents.reconcile(KEY)
    assert list(site.inventory.indexed) == [digest]


async def test_an_image_that_cannot_be_read_is_passed_over(site: Site) -> None:
    await site.publish("first")
    site.inventory.failure = InventoryError("zstd")
    await site.contents.reconcile(KEY)
    site.machine.vendor.failure = UnauthorizedError(VENDOR, "no login")
    await site.contents.reconcile(KEY)
    assert site.inventory.indexed == {}


async def test_a_registry_that_is_away_is_asked_again(site: Site) -> None:
    await site.publish("first")
    site.machine.vendor.failure = RegistryUnavailableError(VENDOR, "HTTP 500")
    with pytest.raises(RegistryUnavailableError):
        await site.contents.reconcile(KEY)


async def test_a_stream_that_is_gone_has_no_contents(site: Site) -> None:
    await site.contents.reconcile(stream_key("gone"))
    assert site.inventory.indexed == {}
