"""Archives of every kind unpack, and none does harm."""

import io
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upwell.builder.archive import ArchiveError, ArchiveLimits, unpack

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
            "a header of a size that no archive needs|unpacks to more than",
        ),  # newer Pythons read it in pieces
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
