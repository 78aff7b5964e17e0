"""Contract of inventories: the packages of an image, read once and kept by its digest."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.support.inventory.layer_archives import ImageInMemory, layer
from tests.support.inventory.memory import InventoryInMemory

from upwell.inventory import layers as layer_reading
from upwell.inventory.interface import Inventory, InventoryError, Package
from upwell.inventory.sqlite import SqliteInventory
from upwell.inventory.zstd import MAGIC
from upwell.oci import Descriptor, Digest

IMAGE, OTHER = Digest.of(b"image"), Digest.of(b"other")
STATUS = "var/lib/dpkg/status"
TWO = "Package: b\nVersion: 2\nSource: src\n\nPackage: a\nVersion: 1\nArchitecture: all\n"
ONE = "Package: a\nVersion: 1\n"


@pytest.fixture(params=["sqlite", "memory"])
def inventory(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Inventory]:
    if request.param == "memory":
        yield InventoryInMemory()
        return
    sqlite = SqliteInventory(tmp_path / "data" / "inventory.db")
    yield sqlite
    sqlite.close()


class CutImage(ImageInMemory):
    """An image whose registry is lost in the middle of a layer."""

    @asynccontextmanager
    async def open(self, layer: Descriptor) -> AsyncIterator[AsyncIterator[bytes]]:
        async def cut() -> AsyncIterator[bytes]:
            yield b"half of"
            raise ConnectionError(f"lost {layer.digest}")

        yield cut()


async def test_packages_are_kept_and_sorted_by_name(inventory: Inventory) -> None:
    found = await inventory.index(IMAGE, ImageInMemory(layer((STATUS, TWO))))

    assert list(found) == [Package("a", "1", "all"), Package("b", "2", "", "src")]
    assert await inventory.packages(IMAGE) == found


async def test_the_highest_layer_says_what_is_installed(inventory: Inventory) -> None:
    image = ImageInMemory(layer((STATUS, TWO)), layer((STATUS, ONE)))

    assert list(await inventory.index(IMAGE, image)) == [Package("a", "1")]


async def test_an_image_that_was_never_indexed_is_unknown(inventory: Inventory) -> None:
    assert await inventory.packages(IMAGE) is None
    await inventory.index(OTHER, ImageInMemory(layer((STATUS, ONE))))
    assert await inventory.packages(IMAGE) is None


@pytest.mark.parametrize("layers", [(), (layer(("bin/app", "")),)], ids=["none", "one"])
async def test_an_image_without_packages_is_known_to_have_none(
    inventory: Inventory, layers: tuple[bytes, ...]
) -> None:
    assert list(await inventory.index(IMAGE, ImageInMemory(*layers))) == []
    found = await inventory.packages(IMAGE)
    assert found is not None
    assert list(found) == []


@pytest.mark.parametrize(
    "image",
    [
        ImageInMemory(b"not an archive"),
        ImageInMemory(MAGIC + b"none", media_type="application/vnd.oci.image.layer.v1.tar+zstd"),
    ],
    ids=["garbage", "zstd"],
)
async def test_an_image_that_cannot_be_read_stays_unknown(
    inventory: Inventory, image: ImageInMemory
) -> None:
    with pytest.raises(InventoryError, match=image.layers[0].digest.short) as caught:
        await inventory.index(IMAGE, image)
    assert (caught.value.reason, caught.value.retryable) == ("InventoryFailed", False)
    assert await inventory.packages(IMAGE) is None


async def test_what_cannot_be_read_is_remembered_with_the_reason(inventory: Inventory) -> None:
    image = ImageInMemory(b"not an archive")
    assert await inventory.failure(IMAGE) is None
    for _ in range(2):
        with pytest.raises(InventoryError, match="not a tar archive"):
            await inventory.index(IMAGE, image)

    assert image.opened == 1
    assert image.layers[0].digest.short in (await inventory.failure(IMAGE) or "")
    assert await inventory.failure(OTHER) is None


async def test_what_nobody_has_read_yet_is_told_in_its_order_and_once(
    inventory: Inventory,
) -> None:
    unreadable, last, first = (Digest.of(name) for name in (b"unreadable", b"last", b"first"))
    await inventory.index(IMAGE, ImageInMemory(layer((STATUS, ONE))))
    with pytest.raises(InventoryError):
        await inventory.index(unreadable, ImageInMemory(b"not an archive"))

    asked = [first, IMAGE, unreadable, last, first]
    assert list(await inventory.unread(asked)) == [first, last]
    assert list(await inventory.unread([])) == []


async def test_what_one_image_says_of_a_layer_is_not_held_against_another(
    inventory: Inventory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layer_reading, "is_readable", lambda: False)
    shared = layer((STATUS, ONE))
    strange = ImageInMemory(shared, media_type="application/vnd.oci.image.layer.v1.tar+zstd")
    with pytest.raises(InventoryError, match="zstd"):
        await inventory.index(OTHER, strange)

    assert list(await inventory.index(IMAGE, ImageInMemory(shared))) == [Package("a", "1")]
    assert "zstd" in (await inventory.failure(OTHER) or "")


async def test_a_fault_of_the_registry_goes_through(inventory: Inventory) -> None:
    with pytest.raises(ConnectionError, match="lost"):
        await inventory.index(IMAGE, CutImage(layer((STATUS, ONE))))
    assert await inventory.packages(IMAGE) is None
    assert await inventory.failure(IMAGE) is None
    assert list(await inventory.index(IMAGE, ImageInMemory(layer((STATUS, ONE)))))


async def test_indexing_again_changes_nothing(inventory: Inventory) -> None:
    image = ImageInMemory(layer((STATUS, ONE)))

    first, second = await asyncio.gather(*(inventory.index(IMAGE, image) for _ in range(2)))

    assert first == second == await inventory.packages(IMAGE)
    assert await inventory.index(IMAGE, image) == first


async def test_images_share_layers_and_no_packages(inventory: Inventory) -> None:
    base = layer((STATUS, ONE))
    await inventory.index(IMAGE, ImageInMemory(base))
    await inventory.index(OTHER, ImageInMemory(base, layer((STATUS, TWO))))

    assert [len(await inventory.packages(image) or ()) for image in (IMAGE, OTHER)] == [1, 2]
