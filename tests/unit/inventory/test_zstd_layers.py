"""Layers that zstd compressed are read as others are; what is none is refused."""

import io
import os

import pytest
from tests.support.inventory.layer_archives import ImageInMemory, layer, read_packages
from tests.support.inventory.zstd_content import zstd

from upwell.inventory.files.scanning import FileScanner
from upwell.inventory.interface import InventoryError
from upwell.inventory.zstd import ZstdReader, begins_with_zstd
from upwell.oci import Digest

STATUS = "var/lib/dpkg/status"
SKIPPABLE = b"\x50\x2a\x4d\x18\x05\x00\x00\x00hello"
"""A frame of five bytes that are no content (RFC 8878, 3.1.2)."""


def unpacked(raw: bytes, piece: int = 1000) -> bytes:
    found = bytearray()
    with ZstdReader(io.BytesIO(raw)) as reader:
        while content := reader.read(piece):
            found += content
    return bytes(found)


@pytest.mark.parametrize("piece", [1, 7, 100_000, 10_000_000])
@pytest.mark.parametrize("size", [0, 1, 300_000])
def test_content_comes_out_as_it_went_in(piece: int, size: int) -> None:
    if piece == 1 and size > 1:
        size = 2000
    content = os.urandom(size // 2) + b"a" * (size - size // 2)
    assert unpacked(zstd(content), piece) == content


def test_frames_follow_one_another_and_some_are_skipped() -> None:
    raw = SKIPPABLE + zstd(b"one") + zstd(b"") + SKIPPABLE + zstd(b"two" * 1000) + SKIPPABLE
    assert begins_with_zstd(raw)
    assert unpacked(raw) == b"one" + b"two" * 1000


@pytest.mark.parametrize("cut", [1, 3, 10, 500])
def test_what_breaks_off_is_no_content(cut: int) -> None:
    with pytest.raises((EOFError, ValueError)):
        unpacked(zstd(os.urandom(5000))[:-cut])


def test_what_is_damaged_or_followed_by_something_else_is_refused() -> None:
    raw = bytearray(zstd(b"content" * 1000))
    raw[6] ^= 0xFF
    for bad in (bytes(raw), zstd(b"one") + b"else"):
        with pytest.raises((EOFError, ValueError)):
            unpacked(bad)


def test_a_window_of_more_than_there_may_be_is_refused() -> None:
    # RFC 8878, 3.1.1.1.2: exponent 31, a window of two terabytes.
    with pytest.raises(ValueError, match="memory"):
        unpacked(b"\x28\xb5\x2f\xfd\x00\xf8" + b"\x01\x00\x00")


async def test_packages_of_a_layer_are_read() -> None:
    raw = zstd(layer((STATUS, "Package: a\nVersion: 1\n")))
    for kind in ("tar+zstd", "tar+gzip"):  # what it is, its content says
        image = ImageInMemory(raw, media_type=f"application/vnd.oci.image.layer.v1.{kind}")
        assert [one.name for one in await read_packages(image)] == ["a"]


async def test_a_damaged_layer_is_refused_by_its_worker() -> None:
    raw = bytearray(zstd(os.urandom(100_000)))
    raw[5000:6000] = b"\x00" * 1000
    with pytest.raises(InventoryError):
        await read_packages(ImageInMemory(bytes(raw)))


async def test_files_of_a_layer_are_found() -> None:
    content = layer(("srv/app", "app"))
    image = ImageInMemory(zstd(content), media_type="application/vnd.oci.image.layer.v1.tar+zstd")
    found = await FileScanner().files(image, image.layers[0])
    assert found.diff_id == Digest.of(content)
    assert [*found.entries] == ["srv/app"]
