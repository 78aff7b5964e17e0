import io
import json
import tarfile
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.inventory.layer_archives import (
    ImageInMemory,
    archive,
    compressed,
    layer,
    read_packages,
)
from tests.support.memory import most_resident_kib, resident_kib

from upwell.inventory import layers as limits
from upwell.inventory.interface import InventoryError
from upwell.inventory.layer_archive import run
from upwell.inventory.layers import LayerContents
from upwell.workers.child import answer

STATUS = "var/lib/dpkg/status"
PARTS = "var/lib/dpkg/status.d"


def package(name: str, version: str = "1") -> str:
    return f"Package: {name}\nVersion: {version}\n"


async def names(*contents: bytes) -> list[str]:
    return [found.name for found in await read_packages(ImageInMemory(*contents))]


@pytest.mark.parametrize("path", [STATUS, f"./{STATUS}", f"/{STATUS}"])
@pytest.mark.parametrize("encode", [bytes, compressed])
async def test_a_database_is_found_however_the_layer_is_written(path: str, encode: object) -> None:
    assert callable(encode)
    assert await names(encode(layer((path, package("libc6"))))) == ["libc6"]


async def test_the_highest_layer_wins() -> None:
    below, above = layer((STATUS, package("old"))), layer((STATUS, package("new")))
    assert await names(below, layer(("srv/a", "")), above) == ["new"]


@pytest.mark.parametrize(
    "whiteout",
    [
        "var/lib/dpkg/.wh.status",
        "var/lib/.wh.dpkg",
        ".wh.var",
        "var/lib/dpkg/.wh..wh..opq",
        "var/.wh..wh..opq",
        ".wh..wh..opq",
        "./.wh..wh..opq",
    ],
)
async def test_a_whiteout_hides_what_is_below(whiteout: str) -> None:
    below = layer((STATUS, package("old")))
    assert await names(below, layer((whiteout, ""))) == []
    # Wherever the whiteout stands in its layer, it hides nothing of that layer.
    new = (STATUS, package("new"))
    assert await names(below, layer((whiteout, ""), new)) == ["new"]
    assert await names(below, layer(new, (whiteout, ""))) == ["new"]


@pytest.mark.parametrize(
    "whiteout", ["var/lib/dpkg/.wh.status-old", "var/lib/.wh.dp", "srv/.wh..wh..opq", "srv/.wh.var"]
)
async def test_a_whiteout_of_something_else_hides_nothing(whiteout: str) -> None:
    assert await names(layer((STATUS, package("kept"))), layer((whiteout, ""))) == ["kept"]


async def test_a_whiteout_removes_one_part_of_a_distroless_image() -> None:
    below = layer((f"{PARTS}/a", package("a")), (f"{PARTS}/b", package("b")))
    assert await names(below, layer((f"{PARTS}/.wh.a", ""))) == ["b"]


async def test_a_package_that_is_named_twice_is_one() -> None:
    both = layer((STATUS, package("a")), (f"{PARTS}/a", package("a")))
    assert await names(both) == ["a"]
    versions = layer((STATUS, package("a", "1")), (f"{PARTS}/a", package("a", "2")))
    assert await names(versions) == ["a", "a"]


async def test_a_database_in_no_known_encoding_is_read_as_far_as_it_goes() -> None:
    raw = b"Package: a\nVersion: 1\nMaintainer: J\xf6rg\n"
    assert await names(archive((STATUS, raw))) == ["a"]


async def test_a_folder_or_link_of_a_databases_name_is_no_database() -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for kind, name in ((tarfile.DIRTYPE, STATUS), (tarfile.SYMTYPE, f"{PARTS}/a")):
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = kind, "/etc/passwd"
            tar.addfile(entry)
    assert await names(buffer.getvalue()) == []


async def test_zstd_is_refused_by_name_where_its_library_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "is_readable", lambda: False)
    image = ImageInMemory(b"", media_type="application/vnd.oci.image.layer.v1.tar+zstd")
    with pytest.raises(InventoryError, match="zstd"):
        await read_packages(image)
    assert image.opened == 0


@pytest.mark.parametrize(
    ("limit", "value"),
    [
        ("MAX_LAYER_BYTES", 1000),
        ("MAX_UNPACKED_BYTES", 10),
        ("MAX_DATABASE_BYTES", 10),
        ("MAX_ENTRIES", 1),
    ],
)
async def test_every_limit_is_kept(monkeypatch: pytest.MonkeyPatch, limit: str, value: int) -> None:
    content = layer((STATUS, package("a")), ("b", ""), ("c", ""))
    assert await names(content) == ["a"]
    monkeypatch.setattr(limits, limit, value)
    with pytest.raises(InventoryError, match=r"large|more than"):
        await names(content)


async def test_databases_of_nothing_count_as_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_PACKAGES", 20)
    assert await names(layer(*((f"{PARTS}/p{at}", "") for at in range(20)))) == []
    with pytest.raises(InventoryError, match="over 20 packages"):
        await names(layer(*((f"{PARTS}/p{at}", "") for at in range(21))))


@pytest.mark.parametrize(
    "content", [b"", b"garbage" * 1000, compressed(b"garbage" * 1000), b"\x1f\x8b", b"\x1f\x8b\x08"]
)
async def test_what_is_no_archive_is_an_error_that_names_the_layer(content: bytes) -> None:
    with pytest.raises(InventoryError, match=r"^layer [0-9a-f]{12}: "):
        await names(content)


@given(st.data())
def test_damage_is_refused_or_harmless(data: st.DataObject) -> None:
    content = bytearray(layer((STATUS, package("a")), ("srv/x", "text" * 300)))
    if data.draw(st.booleans()):
        content = bytearray(compressed(bytes(content)))
    for _ in range(data.draw(st.integers(1, 8))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.integers(0, len(content)))]
    limits_ = {"unpacked": 10**6, "database": 10**5, "entries": 100, "packages": 100}
    found = answer(run, io.BytesIO(bytes(content)), limits_)
    if "result" in found:
        LayerContents.parse(json.loads(json.dumps(found["result"])))
    else:
        assert isinstance(found["refused"], str)


def header(name: str, kind: bytes, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, size
    return info.tobuf()


def pax_header_of_zeros() -> bytes:
    """Return 1.2 GiB of one header, in 1.2 MiB."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    size = 1200 * 1024**2
    begin = packer.compress(header("x", tarfile.XHDTYPE, size)) + packer.flush(zlib.Z_FULL_FLUSH)
    # After a full flush nothing depends on what came before: each mebibyte is compressed alike.
    zeros = packer.compress(bytes(1024**2)) + packer.flush(zlib.Z_FULL_FLUSH)
    return begin + zeros * (size // 1024**2)


def many_packages() -> bytes:
    text = "".join(f"Package: p{at}\nVersion: 1\n\n" for at in range(60_000))
    return compressed(layer((STATUS, text)))


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (pax_header_of_zeros, "a header of more than"),
        (lambda: compressed(header("x", tarfile.GNUTYPE_LONGNAME, 2**30)), "a header of more"),
        (many_packages, "packages"),
    ],
)
async def test_a_hostile_layer_takes_no_memory_of_the_server(
    make: Callable[[], bytes], why: str
) -> None:
    image = ImageInMemory(make())
    before = resident_kib()
    with pytest.raises(InventoryError, match=why):
        await read_packages(image)
    assert most_resident_kib() - before < 32 * 1024


async def test_whiteouts_of_what_is_no_database_are_not_kept() -> None:
    whiteouts = ((f"srv/{at}/.wh.x", "") for at in range(6_000))
    contents = await read_layer_of(compressed(layer(*whiteouts, ("var/lib/.wh.dpkg", ""))))
    assert contents.hidden == {"var/lib/dpkg"}


async def read_layer_of(raw: bytes) -> LayerContents:
    image = ImageInMemory(raw)
    return await limits.read_layer(image, image.layers[0])


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        {},
        {"databases": {}, "hidden": [1]},
        {"databases": {"a": [["n", "v", "a"]]}, "hidden": []},
        {"databases": {"a": [["n", "v", "a", 1]]}, "hidden": []},
    ],
)
def test_a_worker_is_not_believed(data: object) -> None:
    with pytest.raises(InventoryError, match="worker"):
        LayerContents.parse(data)


def test_an_entry_with_headers_without_end_is_refused_in_words() -> None:
    record = b"20 comment=aaaaaaaa\n"
    header = tarfile.TarInfo("./PaxHeaders/x")
    header.type, header.size = tarfile.XHDTYPE, len(record)
    block = header.tobuf(tarfile.USTAR_FORMAT) + record.ljust(512, b"\0")
    whole = block * 900 + tarfile.TarInfo("srv/a").tobuf() + b"\0" * 1024
    bounds = {"unpacked": 4 * 1024**2, "database": 1000, "entries": 10, "packages": 10}

    with pytest.raises(ValueError, match="more extended headers than any needs"):
        run(io.BytesIO(whole), bounds)
    assert run(io.BytesIO(block * 3 + whole[len(block) * 900 :]), bounds)["databases"] == {}
