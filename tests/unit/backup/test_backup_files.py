"""The file of a backup: whole, private, and nothing that a hostile one could do."""

import io
import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from upwell.backup.interface import (
    DATA,
    DIGESTS,
    HEADER,
    BackupError,
    BackupFile,
    BackupHeader,
    BackupLimits,
    BackupPart,
    BackupTimeoutError,
)
from upwell.backup.reading import check_backup, read_header, unpack
from upwell.backup.writing import write_backup

STATE = BackupPart.STATE
BOUNDLESS = BackupLimits()


def header(schema: int = 3) -> BackupHeader:
    return BackupHeader(
        "1.0", schema, "abcd", "/var/lib/upwell", "2026-11-30T00:00:00+00:00", (STATE,)
    )


def saved(folder: Path, *names: str) -> Path:
    """Write a backup of files below `folder / "data"`."""
    path = folder / "backup.tar"
    files = [BackupFile(folder / "data" / name, name, STATE) for name in names]
    write_backup(path, header(), files, BOUNDLESS)
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "a").write_text("one")
    (folder / "a").chmod(0o640)
    return folder


def test_what_was_saved_is_restored_with_links_modes_and_times(data: Path, tmp_path: Path) -> None:
    (data / "volume").mkdir(mode=0o751)
    (data / "volume" / "log").write_bytes(b"x" * 3_000_000)
    (data / "volume" / "same").hardlink_to(data / "volume" / "log")
    (data / "volume" / "link").symlink_to("/etc/passwd")
    os.mkfifo(data / "volume" / "pipe")
    os.utime(data / "a", (1000, 1000))
    path = saved(
        tmp_path, "a", "volume", "volume/log", "volume/same", "volume/link", "volume/pipe", "gone"
    )

    assert unpack(path, tmp_path / "new") == header()
    new = tmp_path / "new"
    assert (new / "a").read_text() == "one"
    assert (new / "a").stat().st_mode & 0o777 == 0o640
    assert (new / "a").stat().st_mtime == 1000
    assert (new / "volume").stat().st_mode & 0o777 == 0o751
    assert (new / "volume" / "same").samefile(new / "volume" / "log")
    assert (new / "volume" / "link").readlink() == Path("/etc/passwd")
    assert (new / "volume" / "pipe").is_fifo()
    assert path.stat().st_mode & 0o077 == 0  # it has Secrets
    assert [one.name for one in tmp_path.glob(".*")] == []


def test_a_file_that_shrinks_while_it_is_copied_is_told(data: Path, tmp_path: Path) -> None:
    (data / "log").write_bytes(b"x" * 2_500_000)
    late = iter([False])

    def cut() -> bool:
        if next(late, None) is None:
            (data / "log").write_bytes(b"")
        return False

    limits = BackupLimits(is_late=cut)
    files = [BackupFile(data / name, name, STATE) for name in ("log", "never")]
    written = write_backup(tmp_path / "backup.tar", header(), files, limits)

    assert written.changed == ("log", "never")
    assert check_backup(tmp_path / "backup.tar") == header()


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (BackupLimits(max_bytes=2), "larger than --max-size"),
        (BackupLimits(is_late=lambda: True), "time limit"),
    ],
)
def test_at_a_limit_nothing_is_left(
    data: Path, tmp_path: Path, limits: BackupLimits, message: str
) -> None:
    files = [BackupFile(data / "a", "a", STATE)]
    with pytest.raises(BackupError, match=message) as error:
        write_backup(tmp_path / "backup.tar", header(), files, limits)
    assert isinstance(error.value, BackupTimeoutError) == ("time limit" in message)
    assert [one.name for one in tmp_path.iterdir()] == ["data"]


def test_a_file_is_not_overwritten(data: Path, tmp_path: Path) -> None:
    (tmp_path / "backup.tar").write_text("kept")
    with pytest.raises(BackupError, match="exists already"):
        saved(tmp_path, "a")
    assert (tmp_path / "backup.tar").read_text() == "kept"
    assert data.is_dir()


def test_a_cut_or_changed_file_is_refused_and_leaves_nothing(data: Path, tmp_path: Path) -> None:
    (data / "log").write_bytes(os.urandom(100_000))
    path = saved(tmp_path, "a", "log")
    whole = path.read_bytes()
    place = whole.index((data / "log").read_bytes())
    for content, message in (
        (whole[: len(whole) // 2], "damaged|cut"),
        (whole[: place - 512], "damaged"),
        (whole[:place] + b"\0\1" + whole[place + 2 :], "data/log is not what was saved"),
        (b"", "damaged"),
        (b"plain text" * 200, "damaged"),
    ):
        path.write_bytes(content)
        with pytest.raises(BackupError, match=message):
            unpack(path, tmp_path / "new")
        assert not (tmp_path / "new").exists()


def test_a_backup_without_its_end_is_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "cut.tar", "w") as tar:
        content = json.dumps(header().document()).encode()
        info = tarfile.TarInfo(HEADER)
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))
    with pytest.raises(BackupError, match="was cut: its end is missing"):
        check_backup(tmp_path / "cut.tar")


def hostile(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> None:
    """Write a tar file that says that it is a backup, with digests of nothing."""
    with tarfile.open(path, "w") as tar:
        documents = (HEADER, header().document()), (DIGESTS, {"files": 0, "sha256": {}})
        contents = [(tarfile.TarInfo(name), json.dumps(one).encode()) for name, one in documents]
        for info, content in (contents[0], *members, contents[1]):
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


@pytest.mark.parametrize(
    "members",
    [
        [member("../evil")],
        [member("/etc/evil")],
        [member(f"{DATA}/../../evil")],
        [member("evil")],
        [member(DATA)],
        [member(f"{DATA}/evil", tarfile.CHRTYPE)],
        [member(f"{DATA}/out", tarfile.SYMTYPE, "../.."), member(f"{DATA}/out/evil")],
        [member(f"{DATA}/evil", tarfile.LNKTYPE, "/etc/passwd")],
        [member(f"{DATA}/evil", tarfile.LNKTYPE, f"{DATA}/../../data/a")],
    ],
)
def test_a_hostile_file_writes_nothing_elsewhere(
    data: Path, tmp_path: Path, members: list[tarfile.TarInfo]
) -> None:
    path = tmp_path / "hostile.tar"
    hostile(path, *((one, b"") for one in members))
    with pytest.raises(BackupError, match="no backup of ours"):
        unpack(path, tmp_path / "new")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["data", "hostile.tar"]
    assert data.is_dir()


def test_a_link_is_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "theirs").write_text("kept")
    path = tmp_path / "hostile.tar"
    link = member(f"{DATA}/x", tarfile.SYMTYPE, str(tmp_path / "theirs"))
    hostile(path, (link, b""), (member(f"{DATA}/x"), b"evil"))
    with pytest.raises(BackupError):
        unpack(path, tmp_path / "new")
    assert (tmp_path / "theirs").read_text() == "kept"


def _other(document: dict[str, object]) -> None:
    document["format"] = "upwell.dev/backup/v9"


def _without_schema(document: dict[str, object]) -> None:
    del document["schema"]


@pytest.mark.parametrize("change", [_other, _without_schema])
def test_another_format_is_refused_before_anything_is_unpacked(
    tmp_path: Path, change: Callable[[dict[str, object]], None]
) -> None:
    document = header().document()
    change(document)
    path = tmp_path / "other.tar"
    with tarfile.open(path, "w") as tar:
        content = json.dumps(document).encode()
        info = tarfile.TarInfo(HEADER)
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))
    with pytest.raises(BackupError, match="no backup of the format"):
        read_header(path)
    with pytest.raises(BackupError, match="does not exist"):
        read_header(tmp_path / "none.tar")
