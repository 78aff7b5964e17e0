"""Selection of images to index; their packages are the inventory's business."""

from collections.abc import Sequence
from pathlib import Path
from typing import override

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

from upwell.inventory.interface import InventoryError, InventoryFailedError, Package
from upwell.oci import Digest
from upwell.reconcilers.images.packages import ImageContents
from upwell.registry.errors import RegistryUnavailableError, UnauthorizedError
from upwell.registry.routed import RoutedRegistry

KEY = stream_key("debian")
LIBC = layer(("var/lib/dpkg/status", "Package: libc6\nVersion: 2.31\n"))


class NotedInventory(InventoryInMemory):
    """An inventory that notes whose packages were asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[Digest] = []

    @override
    async def packages(self, digest: Digest) -> Sequence[Package] | None:
        self.asked.append(digest)
        return await super().packages(digest)


class ExaminedStream:
    """A stream that imports debian:11, and the reconciler of its contents."""

    def __init__(self, folder: Path) -> None:
        self.machine = BuildMachine(folder)
        self.streams = self.machine.streams()
        self.inventory = NotedInventory()
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
async def examined(tmp_path: Path) -> ExaminedStream:
    examined = ExaminedStream(tmp_path)
    tag = imported("11", f"{VENDOR}/debian:11", scheduled=True)
    await examined.machine.store.create(image_stream("debian", tag))
    return examined


async def test_the_two_newest_digests_are_indexed_once(examined: ExaminedStream) -> None:
    _, second, third = [await examined.publish(mark) for mark in ("first", "second", "third")]
    await examined.contents.reconcile(KEY)
    await examined.contents.reconcile(KEY)
    assert examined.inventory.reads == {second: 1, third: 1}


async def test_packages_that_are_known_are_not_looked_at_again(examined: ExaminedStream) -> None:
    first, second = [await examined.publish(mark) for mark in ("first", "second")]
    await examined.contents.reconcile(KEY)
    assert set(examined.inventory.asked) == {first, second}
    examined.inventory.asked.clear()
    third = await examined.publish("third")
    await examined.contents.reconcile(KEY)
    assert examined.inventory.asked == [third]


async def test_an_index_is_known_by_its_own_digest(examined: ExaminedStream) -> None:
    registry = examined.machine.vendor.registry
    images = {
        AMD64: await push(registry, "debian:a", "a"),
        ARM64: await push(registry, "debian:b", "b"),
    }
    digest = await push_index(registry, "debian:11", images)
    await examined.take_in()
    await examined.contents.reconcile(KEY)
    assert set(examined.inventory.indexed) == {digest}


async def test_an_index_without_our_platform_is_passed_over(examined: ExaminedStream) -> None:
    registry = examined.machine.vendor.registry
    await push_index(registry, "debian:11", {ARM64: await push(registry, "debian:b", "b")})
    await examined.take_in()
    await examined.contents.reconcile(KEY)
    assert examined.inventory.indexed == {}


async def test_what_was_built_or_pushed_here_is_indexed_too(examined: ExaminedStream) -> None:
    digest = await push(examined.machine.internal, f"{NAMESPACE}/debian:own", "own")
    await examined.take_in()
    await examined.contents.reconcile(KEY)
    assert list(examined.inventory.indexed) == [digest]


async def test_an_image_that_cannot_be_read_is_passed_over(examined: ExaminedStream) -> None:
    await examined.publish("first")
    examined.inventory.refusal = InventoryError("zstd")
    await examined.contents.reconcile(KEY)
    examined.machine.vendor.failure = UnauthorizedError(VENDOR, "no login")
    await examined.contents.reconcile(KEY)
    assert examined.inventory.indexed == {}


async def test_an_image_that_cannot_be_read_is_read_once(examined: ExaminedStream) -> None:
    digest = await examined.publish("first")
    examined.inventory.refusal = InventoryError("layer x: too large")
    for _ in range(3):
        await examined.contents.reconcile(KEY)
    assert examined.inventory.reads == {digest: 1}
    assert await examined.inventory.failure(digest) == "layer x: too large"


async def test_an_image_whose_worker_was_killed_is_read_again(examined: ExaminedStream) -> None:
    digest = await examined.publish("first")
    examined.inventory.refusal = InventoryFailedError("killed with signal 9")
    with pytest.raises(InventoryFailedError):
        await examined.contents.reconcile(KEY)
    examined.inventory.refusal = None
    await examined.contents.reconcile(KEY)
    assert examined.inventory.reads == {digest: 2}


async def test_a_registry_that_is_away_is_asked_again(examined: ExaminedStream) -> None:
    await examined.publish("first")
    examined.machine.vendor.failure = RegistryUnavailableError(VENDOR, "HTTP 500")
    with pytest.raises(RegistryUnavailableError):
        await examined.contents.reconcile(KEY)


async def test_a_stream_that_is_gone_has_no_contents(examined: ExaminedStream) -> None:
    await examined.contents.reconcile(stream_key("gone"))
    assert examined.inventory.indexed == {}
