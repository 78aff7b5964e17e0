"""Files of layers, as a worker reads them, and as they are kept."""

import io
import os
import shutil
import tarfile
import zlib
from pathlib import Path

import pytest
from tests.support.inventory.layer_archives import ImageInMemory, compressed
from tests.support.registry.made_images import tar_of

from upwell.inventory.files.archive import found_in, run
from upwell.inventory.files.elf import UnreadableElfError, elf_row
from upwell.inventory.files.facts import facts_bytes, layer_files, read_facts
from upwell.inventory.files.scanning import FileScanner
from upwell.inventory.interface import EntryKind, InventoryError, LayerFiles
from upwell.oci import Digest

LIMITS = {
    "unpacked": 2**30,
    "least": 2**20,
    "ratio": 32,
    "elf": 2**27,
    "entries": 100,
    "characters": 10_000,
}


def read(archive: bytes, **limits: int) -> LayerFiles:
    """Read a layer in this process, as a worker does."""
    return layer_files(found_in(io.BytesIO(archive), {**LIMITS, **limits}))


def shell() -> bytes:
    return Path(shutil.which("sh") or "").read_bytes()


def kept_files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def cut_off(folder: Path) -> None:
    """Take the end off the one file below a folder."""
    (kept,) = kept_files(folder)
    kept.write_bytes(kept.read_bytes()[:-20])


def special(*entries: tarfile.TarInfo) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for entry in entries:
            archive.addfile(entry, io.BytesIO(b"\0" * entry.size))
    return buffer.getvalue()


def test_entries_whiteouts_and_scripts_are_told_apart() -> None:
    raw = tar_of(
        {
            "./srv/": b"",
            "./srv/app.sh": b"#!/bin/sh -e\nexit\n",
            "srv/.wh.old": b"",
            ".wh.gone": b"",
            "etc/.wh..wh..opq": b"",
            "etc/os-release": b"ID=debian\n",
            "bin/app": "/srv/app.sh",
        }
    )
    found = read(raw)
    assert found.diff_id == Digest.of(raw)
    assert {path: one.kind for path, one in found.entries.items()} == {
        "srv": EntryKind.DIRECTORY,
        "srv/app.sh": EntryKind.FILE,
        "etc/os-release": EntryKind.FILE,
        "bin/app": EntryKind.SYMLINK,
    }
    assert found.removed == {"srv/old", "gone"}
    assert found.opaque == {"etc"}
    assert found.scripts == {"srv/app.sh": "/bin/sh -e"}
    assert found.texts == {"etc/os-release": "ID=debian\n"}
    assert found.entries["srv/app.sh"].content == Digest.of(b"#!/bin/sh -e\nexit\n").hex


def test_owners_modes_attributes_links_and_devices_are_facts() -> None:
    plain, capable, hard, device = (tarfile.TarInfo(name) for name in ("a", "b", "c", "d"))
    plain.uid, plain.mode = 7, 0o4755
    capable.pax_headers = {"SCHILY.xattr.security.capability": "x"}
    hard.type, hard.linkname = tarfile.LNKTYPE, "./a"
    device.type, device.devmajor = tarfile.CHRTYPE, 5
    found = read(special(plain, capable, hard, device)).entries
    assert (found["a"].uid, found["a"].mode, found["a"].extended) == (7, 0o4755, "")
    assert found["b"].extended
    assert (found["c"].kind, found["c"].content) == (EntryKind.HARD_LINK, "a")
    assert found["d"].kind is EntryKind.SPECIAL


def test_what_follows_the_archive_is_a_part_of_the_layer() -> None:
    raw = tar_of({"a": b"a"}) + b"\0" * 5000
    assert read(compressed(raw)).diff_id == Digest.of(raw)


@pytest.mark.parametrize(
    ("raw", "limits"),
    [
        (tar_of({"../a": b""}), {}),
        (tar_of({"a": b"", "b": b""}), {"entries": 1}),
        (tar_of({"a" * 50: b""}), {"characters": 40}),
        (tar_of({"a/" * 40 + "a": b""}), {"characters": 3000}),
        (tar_of({"a": b"\0" * 5000}), {"unpacked": 3000}),
        (compressed(tar_of({"a": b"\0" * 2**22})), {}),
        (compressed(tar_of({"a": b"a"}) + b"\0" * 2**22), {}),
        (compressed(tar_of({"a": b"a"}))[:-9], {}),
        (b"no archive", {}),
    ],
)
def test_what_is_beyond_a_limit_or_no_archive_is_refused(
    raw: bytes, limits: dict[str, int]
) -> None:
    with pytest.raises(ValueError, match=r"."):
        read(raw, **limits)


def test_a_large_layer_may_unpack_to_many_times_its_size() -> None:
    content = os.urandom(2**20) + b"\0" * 2**24
    assert read(compressed(tar_of({"a": content})), least=0).entries["a"].size == len(content)


def test_programs_say_what_they_need_and_libraries_what_they_have() -> None:
    row = elf_row(io.BytesIO(shell()))
    assert row is not None
    interpreter, _, needed, required, _ = row
    assert Path(interpreter).exists()
    (library,) = (name for name in needed if name.startswith("libc."))
    versions = dict(required)[library]
    folder = next(one for one in Path("/").glob("lib*/**/" + library) if one.exists())
    with folder.resolve().open("rb") as file:
        offered = elf_row(file)
    assert offered is not None
    assert offered[1] == library
    assert set(versions) <= set(offered[4])


@pytest.mark.parametrize("cut", [4, 20, 64, 500])
def test_what_only_begins_as_a_program_cannot_be_read(cut: int) -> None:
    with pytest.raises(UnreadableElfError):
        elf_row(io.BytesIO(shell()[:cut]))
    assert read(tar_of({"app": shell()[:cut]})).elf == {"app": None}


def test_a_header_with_numbers_that_none_has_cannot_be_read() -> None:
    for at in (0x20, 0x28):  # where the headers of segments and of sections begin
        content = bytearray(shell())
        content[at : at + 8] = b"\xff" * 8
        with pytest.raises(UnreadableElfError):
            elf_row(io.BytesIO(bytes(content)))


async def test_a_worker_reads_a_layer_once_and_its_facts_are_kept(tmp_path: Path) -> None:
    image = ImageInMemory(compressed(tar_of({"bin/sh": shell(), "srv/a": b"#!/bin/sh\n"})))
    (layer,) = image.layers
    found = await FileScanner(tmp_path).files(image, layer)
    assert (facts := found.elf["bin/sh"]) is not None
    assert facts.needed
    assert await FileScanner(tmp_path).files(image, layer) == found
    assert image.opened == 1
    cut_off(tmp_path)
    assert await FileScanner(tmp_path).files(image, layer) == found
    assert image.opened == 2


async def test_what_was_not_used_for_longest_goes(tmp_path: Path) -> None:
    image = ImageInMemory(*(tar_of({f"srv/{name}": b""}) for name in "abc"))
    one, two, three = image.layers
    await FileScanner(tmp_path, 10_000).files(image, one)
    (kept,) = kept_files(tmp_path)
    scanner = FileScanner(tmp_path, int(kept.stat().st_size * 2.5))
    await scanner.files(image, two)
    for path in kept_files(tmp_path):
        os.utime(path, (1, 1))
    await scanner.files(image, one)  # is used, and not read again
    await scanner.files(image, three)
    assert image.opened == 3
    left = {path.name for path in kept_files(tmp_path)}
    assert left == {f"{layer.digest.algorithm}-{layer.digest.hex}" for layer in (one, three)}


@pytest.mark.parametrize("data", [None, {}, {"diff_id": "x"}, []])
def test_what_no_worker_says_is_refused(data: object) -> None:
    with pytest.raises(InventoryError):
        layer_files(data)


def packed(content: bytes) -> bytes:
    return run(io.BytesIO(tar_of({"a": content})), {**LIMITS, "facts": 10_000})


def test_facts_are_read_as_they_were_found() -> None:
    raw = tar_of({"a": b"a", "b": "a"})
    kept = run(io.BytesIO(raw), {**LIMITS, "facts": 10_000})
    assert read_facts(io.BytesIO(kept), 10_000) == read(raw)
    assert facts_bytes(io.BytesIO(kept), 10_000) == len(zlib.decompress(kept))


@pytest.mark.parametrize(
    "kept",
    [
        packed(b"a")[:-1],
        b"",
        b"x" * 100,
        zlib.compress(b"0" * 20_000_000),
        packed(b"a")[:40] + b"xxxx" + packed(b"a")[44:],
        packed(b"a") + b"x",
        packed(b"a") + packed(b"a"),
        packed(b"a") + b"x" * 1_000_000,
    ],
)
def test_facts_that_are_damaged_or_a_bomb_are_refused(kept: bytes) -> None:
    with pytest.raises(InventoryError):
        facts_bytes(io.BytesIO(kept), 10_000)
    with pytest.raises(InventoryError):
        read_facts(io.BytesIO(kept), 10_000)


def test_facts_beyond_their_limit_are_not_kept() -> None:
    with pytest.raises(ValueError, match="its paths take over 50 bytes"):
        run(io.BytesIO(tar_of({"a": b""})), {**LIMITS, "facts": 50})
