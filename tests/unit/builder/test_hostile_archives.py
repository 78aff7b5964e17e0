"""Archives of every kind unpack, and none does harm."""

import gzip
import io
import os
import stat
import struct
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.memory import most_resident_kib, resident_kib

from upwell.builder import unpacking
from upwell.builder.archive import ArchiveError, ArchiveLimits, run
from upwell.builder.unpacking import unpack as unpack_apart
from upwell.workers import runner
from upwell.workers.fork_server import ForkServer
from upwell.workers.interface import MIB

LIMITS = ArchiveLimits(content_bytes=1_000_000, entries=100)

type Entry = tuple[str, bytes, str, int]
"""Name, type, link target, mode."""


def tar_of(path: Path, entries: list[Entry], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]  # any of its modes
        for name, kind, target, permissions in entries:
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.mode = kind, target, permissions
            content = b"content of " + name.encode()
            info.size = len(content) if kind == tarfile.REGTYPE else 0
            tar.addfile(info, io.BytesIO(content))
    return path


def unpack(archive: Path, target: Path, limits: ArchiveLimits) -> None:
    """Unpack in this process, as a worker does in its own."""
    argument = {
        "target": str(target),
        "content_bytes": limits.content_bytes,
        "entries": limits.entries,
        "any_links": limits.any_links,
    }
    try:
        with archive.open("rb") as source:
            run(source, argument)
    except OSError as error:
        raise ArchiveError(f"the archive cannot be unpacked: {error}") from error


def file(name: str, mode: int = 0o644) -> Entry:
    return (name, tarfile.REGTYPE, "", mode)


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> Entry:
    return (name, kind, target, 0o777)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    folder = tmp_path / "inside" / "target"
    folder.mkdir(parents=True)
    return folder


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_every_compression_unpacks(tmp_path: Path, target: Path, mode: str) -> None:
    entries = [
        ("./", tarfile.DIRTYPE, "", 0o2775),
        ("./bin", tarfile.DIRTYPE, "", 0o500),
        file("bin/tool", 0o755),
        file("deep/er/file", 0o400),
        link("bin/alias", "tool"),
        link("up", "bin/../deep"),
        link("hard", "bin/tool", tarfile.LNKTYPE),
    ]
    unpack(tar_of(tmp_path / "a.tar", entries, mode), target, LIMITS)
    assert (target / "bin/alias").read_text() == "content of bin/tool"
    assert (target / "hard").samefile(target / "bin/tool")
    assert (target / "up/er/file").read_text() == "content of deep/er/file"
    assert stat.S_IMODE((target / "bin/tool").stat().st_mode) == 0o755
    assert stat.S_IMODE((target / "deep/er/file").stat().st_mode) == 0o600


def test_links_that_nothing_follows_may_lead_anywhere(tmp_path: Path, target: Path) -> None:
    entries = [link("modules", "/opt/app/modules"), link("a/up", "../../x"), file("kept")]
    archive = tar_of(tmp_path / "archive", entries)
    unpack(archive, target, replace(LIMITS, any_links=True))
    assert (target / "modules").readlink() == Path("/opt/app/modules")
    assert (target / "a/up").readlink() == Path("../../x")
    behind = tar_of(tmp_path / "behind", [link("out", str(tmp_path)), file("out/file")])
    other = tmp_path / "inside" / "other"
    other.mkdir()
    with pytest.raises(ArchiveError, match="behind a link"):
        unpack(behind, other, replace(LIMITS, any_links=True))


def test_a_zip_unpacks_with_permissions_and_links(tmp_path: Path, target: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, mode, content in (
            ("run", stat.S_IFREG | 0o755, "#!/bin/sh"),
            ("alias", stat.S_IFLNK | 0o777, "run"),
        ):
            info = zipfile.ZipInfo(name)
            info.create_system = 3
            info.external_attr = mode << 16
            archive.writestr(info, content)
        archive.writestr("folder/plain", "x")
    unpack(tmp_path / "a.zip", target, LIMITS)
    assert stat.S_IMODE((target / "run").stat().st_mode) == 0o755
    assert (target / "alias").readlink() == Path("run")
    assert (target / "folder/plain").read_text() == "x"


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([file("/etc/cron.d/x")], "outside the archive"),
        ([file("../outside")], "outside the archive"),
        ([file("a/../../outside")], "outside the archive"),
        ([link("l", "/etc/passwd")], "a link to '/etc/passwd', outside"),
        ([link("l", "../outside")], "outside the archive"),
        ([link("a/l", "../../outside")], "outside the archive"),
        ([link("a", "."), file("a/b")], "behind a link"),
        ([link("a", "."), link("a/a/l", "../..")], "behind a link"),
        ([link("l", "../outside", tarfile.LNKTYPE)], "outside the archive"),
        ([link("l", "missing", tarfile.LNKTYPE)], "cannot be unpacked"),
        ([file("f"), link("l", "f"), link("h", "l", tarfile.LNKTYPE)], "which is not a file"),
        ([("d", tarfile.BLKTYPE, "", 0o644)], "a device"),
        ([("d", tarfile.CHRTYPE, "", 0o644)], "a device"),
        ([("d", tarfile.FIFOTYPE, "", 0o644)], "a device"),
        ([file("s", 0o4755)], "setuid"),
        ([file("s", 0o2755)], "setgid"),
        ([("d", tarfile.DIRTYPE, "", 0o755), file("d")], "a folder and a file"),
        ([file(f"f{number}") for number in range(101)], "over 100 entries"),
    ],
)
def test_an_entry_that_would_do_harm_is_refused_by_name(
    tmp_path: Path, target: Path, entries: list[Entry], message: str
) -> None:
    (tmp_path / "outside").write_text("untouched")
    (target.parent / "outside").write_text("untouched")
    with pytest.raises(ArchiveError, match=message):
        unpack(tar_of(tmp_path / "a.tar", entries), target, LIMITS)
    assert (tmp_path / "outside").read_text() == "untouched"
    assert (target.parent / "outside").read_text() == "untouched"


def tar_bomb(path: Path) -> None:
    with tarfile.open(path, "w:gz") as tar:
        info = tarfile.TarInfo("zeros")
        info.size = 50_000_000
        tar.addfile(info, io.BytesIO(bytes(info.size)))


def header_bomb(path: Path) -> None:
    with tarfile.open(path, "w:gz", format=tarfile.PAX_FORMAT) as tar:
        info = tarfile.TarInfo("x")
        info.pax_headers = {"comment": "x" * 20_000_000}
        tar.addfile(info)


def zip_bomb(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", bytes(50_000_000))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (tar_bomb, "more than"),
        (zip_bomb, "more than 1000000 bytes"),
        (
            header_bomb,
            "a header of more than 1048576 bytes|unpacks to more than",
        ),
    ],
)
def test_a_bomb_is_cut_off(
    tmp_path: Path, target: Path, make: Callable[[Path], None], message: str
) -> None:
    make(tmp_path / "bomb")
    with pytest.raises(ArchiveError, match=message):
        unpack(tmp_path / "bomb", target, LIMITS)
    written = sum(path.stat().st_size for path in target.rglob("*"))
    assert written <= LIMITS.content_bytes


def path_bomb(path: Path) -> None:
    with tarfile.open(path, "w:gz", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(tarfile.TarInfo("a/" * 3000 + "b"))


def depth_bomb(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/" * 1000 + "b", "")


def headers_in_a_row(path: Path) -> None:
    """Write 1,500 extended headers of 64 KiB before one entry."""
    with gzip.open(path, "wb") as file:
        for _ in range(1500):
            info = tarfile.TarInfo("x")
            info.type, info.size = tarfile.XHDTYPE, 64 * 1024
            record = b"65535 comment="
            file.write(info.tobuf() + record + b"x" * (65534 - len(record)) + b"\n\0")
        file.write(tarfile.TarInfo("x").tobuf() + bytes(1024))


def global_headers(path: Path) -> None:
    """Write global headers that would be copied into each of the entries after them."""
    with gzip.open(path, "wb") as file:
        for at in range(200):
            record = f"30 key{at:04d}=".encode().ljust(29, b"x") + b"\n"
            info = tarfile.TarInfo("x")
            info.type, info.size = tarfile.XGLTYPE, len(record)
            file.write(info.tobuf() + record.ljust(512, b"\0"))
            file.write(tarfile.TarInfo(f"f{at}").tobuf())
        file.write(bytes(1024))


def zip_directory(path: Path) -> None:
    """Write a directory of two million entries of nothing, in 92 MB."""
    entry = struct.pack("<4s6H3L5H2L", b"PK\1\2", *[0] * 16)
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 0xFFFE, 0xFFFE, 2_000_000 * len(entry), 0, 0)
    with path.open("wb") as file:
        for _ in range(200):
            file.write(entry * 10_000)
        file.write(end)


WORKER_MIB = 96
"""Address space, of which the interpreter takes about 40."""


@pytest.fixture
def little_memory(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let workers have little, of a fork server that has imported no other task."""
    small = replace(unpacking._LIMITS, memory_bytes=WORKER_MIB * MIB)
    monkeypatch.setattr(unpacking, "_LIMITS", small)
    fork_server = ForkServer()
    monkeypatch.setattr(runner, "_fork_server", fork_server)
    yield
    fork_server.end()


@pytest.mark.usefixtures("little_memory")
@pytest.mark.parametrize(
    "make", [header_bomb, headers_in_a_row, global_headers, path_bomb, depth_bomb, zip_directory]
)
async def test_headers_take_no_memory_of_anybody(
    tmp_path: Path, target: Path, make: Callable[[Path], None]
) -> None:
    make(tmp_path / "bomb")
    before = resident_kib()
    with pytest.raises(ArchiveError) as caught:
        await unpack_apart(tmp_path / "bomb", target, ArchiveLimits())
    assert "of memory" not in str(caught.value)
    assert most_resident_kib() - before < 32 * 1024


@pytest.mark.usefixtures("little_memory")
async def test_a_worker_with_so_little_memory_unpacks_what_is_harmless(
    tmp_path: Path, target: Path
) -> None:
    await unpack_apart(tar_of(tmp_path / "a.tar", [file("a")], "w:gz"), target, LIMITS)
    assert (target / "a").is_file()


async def test_a_worker_unpacks_beneath_its_folder(tmp_path: Path, target: Path) -> None:
    entries = [file("bin/tool", 0o755), link("bin/alias", "tool"), file("deep/er/file")]
    await unpack_apart(tar_of(tmp_path / "a.tar", entries, "w:xz"), target, LIMITS)
    assert (target / "bin/alias").read_text() == "content of bin/tool"
    assert (target / "deep/er/file").stat().st_uid == os.geteuid()
    with pytest.raises(ArchiveError, match=r"'\.\./outside' is a path outside the archive"):
        await unpack_apart(tar_of(tmp_path / "harm.tar", [file("../outside")]), target, LIMITS)
    with pytest.raises(ArchiveError, match="No such file"):
        await unpack_apart(tmp_path / "missing.tar", target, LIMITS)


async def test_a_zip_of_names_in_an_old_code_page_unpacks_in_a_worker(
    tmp_path: Path, target: Path
) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("caf_", "x")
    content = (tmp_path / "a.zip").read_bytes().replace(b"caf_", b"caf\x82")
    (tmp_path / "a.zip").write_bytes(content)
    await unpack_apart(tmp_path / "a.zip", target, LIMITS)
    assert os.listdir(target) == ["café"]  # noqa: PTH208 - in an async test


def test_what_is_no_archive_is_called_so(tmp_path: Path, target: Path) -> None:
    for content in (b"", b"hello", b"PK\x03\x04junk", b"\x1f\x8bjunk", b"BZhjunk"):
        (tmp_path / "junk").write_bytes(content)
        with pytest.raises(ArchiveError):
            unpack(tmp_path / "junk", target, LIMITS)


segments = st.sampled_from(["a", "b", "..", ".", "", "c"])
paths = st.lists(segments, min_size=1, max_size=4).map("/".join)
entries = st.one_of(
    st.builds(file, paths),
    st.builds(link, paths, paths),
    st.builds(link, paths, paths, st.just(tarfile.LNKTYPE)),
    st.builds(lambda name: (name, tarfile.DIRTYPE, "", 0o755), paths),
)


@given(st.lists(entries, max_size=8))
def test_nothing_is_ever_written_outside(
    tmp_path_factory: pytest.TempPathFactory, found: list[Entry]
) -> None:
    root = tmp_path_factory.mktemp("property")
    inside = root / "x" / "y" / "target"
    inside.mkdir(parents=True)
    archive = tar_of(root / "a.tar", found)
    try:
        unpack(archive, inside, LIMITS)
    except ArchiveError:
        pass
    else:
        for path in inside.rglob("*"):
            if path.is_symlink() and path.exists():
                assert path.resolve().is_relative_to(inside)
    assert {path.name for path in root.iterdir()} == {"a.tar", "x"}
    assert [path.name for path in (root / "x").rglob("*") if inside not in path.parents] == [
        "y",
        "target",
    ]
