import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.support.inventory.layer_archives import ImageInMemory, layer

from upwell.inventory import sqlite
from upwell.inventory.interface import Inventory, InventoryError, InventoryFailedError, Package
from upwell.inventory.layers import LIMITS_VERSION
from upwell.inventory.sqlite import SqliteInventory
from upwell.oci import Digest

DIGEST = Digest.of(b"image")
STATUS = "var/lib/dpkg/status"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "inventory.db"


@pytest.fixture
def inventory(path: Path) -> Iterator[Inventory]:
    inventory = SqliteInventory(path)
    yield inventory
    inventory.close()


async def test_what_was_indexed_is_known_after_a_restart(inventory: Inventory, path: Path) -> None:
    text = "Package: b\nVersion: 2\nSource: src\n\nPackage: a\nVersion: 1\nArchitecture: all\n"
    found = await inventory.index(DIGEST, ImageInMemory(layer((STATUS, text))))
    assert found == [Package("a", "1", "all"), Package("b", "2", "", "src")]
    again = SqliteInventory(path)
    assert await again.packages(DIGEST) == found
    again.close()


async def test_an_image_without_packages_is_not_an_unknown_image(inventory: Inventory) -> None:
    assert await inventory.packages(DIGEST) is None
    assert await inventory.index(DIGEST, ImageInMemory(layer(("bin/app", "")))) == []
    assert await inventory.packages(DIGEST) == []


async def test_an_image_that_cannot_be_read_stays_unknown(inventory: Inventory) -> None:
    with pytest.raises(InventoryError):
        await inventory.index(DIGEST, ImageInMemory(b"garbage"))
    assert await inventory.packages(DIGEST) is None


async def test_packages_that_differ_in_their_source_alone_are_both_kept(
    inventory: Inventory,
) -> None:
    text = "Package: a\nVersion: 1\n"
    image = ImageInMemory(layer((STATUS, text), (f"{STATUS}.d/a", f"{text}Source: other\n")))
    found = await inventory.index(DIGEST, image)
    assert await inventory.packages(DIGEST) == found
    assert len(found) == 2


async def test_indexing_again_changes_nothing(inventory: Inventory) -> None:
    image = ImageInMemory(layer((STATUS, "Package: a\nVersion: 1\n")))
    assert await inventory.index(DIGEST, image) == await inventory.index(DIGEST, image)
    assert await inventory.packages(DIGEST) == [Package("a", "1")]


async def test_a_layer_that_two_images_share_is_read_once(tmp_path: Path) -> None:
    base = layer((STATUS, "Package: libc6\nVersion: 1\n"))
    first, second = ImageInMemory(base), ImageInMemory(base, layer(("srv/app", "x")))
    inventory = SqliteInventory(tmp_path / "inventory.db")
    try:
        before = await inventory.index(Digest.of(b"first"), first)
        again = await inventory.index(Digest.of(b"second"), second)
    finally:
        inventory.close()
    assert before == again
    assert (first.opened, second.opened) == (1, 1)


async def test_a_forgotten_image_is_unknown_again(path: Path) -> None:
    inventory = SqliteInventory(path)
    other = Digest.of(b"other")
    for digest in (DIGEST, other):
        await inventory.index(digest, ImageInMemory(layer((STATUS, "Package: a\nVersion: 1\n"))))

    assert [await inventory.forget(DIGEST) for _ in range(2)] == [True, False]

    assert await inventory.packages(DIGEST) is None
    assert await inventory.packages(other) == [Package("a", "1")]
    assert await inventory.digests() == [other]
    inventory.close()


async def test_a_failed_layer_is_not_fetched_for_another_image_or_after_a_restart(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inventory = SqliteInventory(path)
    with pytest.raises(InventoryError):
        await inventory.index(DIGEST, ImageInMemory(b"garbage"))
    inventory.close()

    again, second = SqliteInventory(path), ImageInMemory(b"garbage")
    with pytest.raises(InventoryError, match="not a tar archive"):
        await again.index(Digest.of(b"other"), second)
    assert second.opened == 0

    # Other limits may read what these could not.
    monkeypatch.setattr(sqlite, "LIMITS_VERSION", LIMITS_VERSION + 1)
    assert await again.failure(DIGEST) is None
    with pytest.raises(InventoryError):
        await again.index(DIGEST, second)
    assert second.opened == 1
    again.close()


@contextmanager
def no_room_behind(log: Path) -> Iterator[None]:
    """Let no file of this process grow beyond the database's log: as good as a full disk."""
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (log.stat().st_size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        signal.signal(signal.SIGXFSZ, before)


async def test_a_full_disk_is_said_with_what_to_do_and_is_no_fault_of_the_image(
    inventory: Inventory, path: Path
) -> None:
    image = ImageInMemory(layer((STATUS, "Package: a\nVersion: 1\n")))
    with no_room_behind(path.with_name(f"{path.name}-wal")):
        for found in (image, ImageInMemory(b"garbage")):
            with pytest.raises(InventoryFailedError) as caught:
                await inventory.index(DIGEST, found)
            assert caught.value.retryable
            assert str(caught.value).startswith(f"{path} cannot be used: ")
            assert "; free space" in str(caught.value)

    assert await inventory.failure(DIGEST) is None
    assert await inventory.index(DIGEST, image) == [Package("a", "1")]
