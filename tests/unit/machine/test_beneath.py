import errno
import os
from contextlib import suppress
from pathlib import Path

import pytest

from upwell.machine import beneath
from upwell.machine.beneath import (
    LeavesFolderError,
    open_beneath,
    opened_beneath,
    read_beneath,
    resolve_beneath,
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with links of every kind, beside a file that nobody may reach."""
    (tmp_path / "secret").write_text("secret")
    root = tmp_path / "root"
    (root / "folder").mkdir(parents=True)
    (root / "folder" / "file").write_text("own")
    (root / "inside").symlink_to("folder/file")
    (root / "absolute").symlink_to(tmp_path / "secret")
    (root / "relative").symlink_to("../secret")
    (root / "up").symlink_to("..")
    (root / "loop").symlink_to("loop")
    (root / "magic").symlink_to("/proc/self/root/etc/passwd")
    os.mkfifo(root / "pipe")
    return root


@pytest.fixture(params=[True, False], ids=["openat2", "an old kernel"])
def links(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Say whether links inside of the folder are followed."""
    if not request.param:
        monkeypatch.setattr(beneath, "_OPENAT2", 1_000_000)
    return bool(request.param)


@pytest.mark.usefixtures("links")
@pytest.mark.parametrize(
    "path",
    [
        "../secret",
        "folder/../../secret",
        "/etc/passwd",
        "absolute",
        "relative",
        "up/secret",
        "magic",
        "loop",
        "folder/file\0",
    ],
)
@pytest.mark.parametrize("flags", [os.O_RDONLY, os.O_PATH])
def test_nothing_leads_out(root: Path, path: str, flags: int) -> None:
    with pytest.raises(LeavesFolderError) as caught:
        open_beneath(root, path, flags)
    assert repr(path) in str(caught.value)


@pytest.mark.usefixtures("links")
def test_what_is_inside_is_read(root: Path) -> None:
    assert read_beneath(root, "folder/file", 10) == b"own"
    assert read_beneath(root, "folder/file", 1) == b"ow"
    with opened_beneath(root, "folder", os.O_PATH) as folder:
        assert read_beneath(folder, "file", 10) == b"own"
    with opened_beneath(root, "", os.O_PATH) as folder:
        assert read_beneath(folder, "folder/file", 10) == b"own"


def test_links_inside_are_followed_if_asked(root: Path, *, links: bool) -> None:
    if links:
        assert read_beneath(root, "inside", 10) == b"own"
        assert resolve_beneath(root, "inside") == root / "folder" / "file"
    with pytest.raises(LeavesFolderError):
        read_beneath(root, "inside", 10, links=False)


@pytest.mark.usefixtures("links")
def test_what_is_no_file_is_not_waited_for(root: Path) -> None:
    for path in ("pipe", "folder"):
        with pytest.raises(OSError, match="not a regular file"):
            read_beneath(root, path, 10)
    with pytest.raises(FileNotFoundError):
        read_beneath(root, "missing", 10)


@pytest.mark.usefixtures("links")
def test_every_descriptor_is_closed(root: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    for path in ("folder/file", "absolute", "missing/x", "up/secret", "pipe"):
        with suppress(OSError):
            read_beneath(root, path, 10)
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


def test_a_file_is_made_below(root: Path) -> None:
    made = open_beneath(root, "folder/new", os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode=0o600)
    os.close(made)
    assert (root / "folder" / "new").stat().st_mode & 0o777 == 0o600
    with pytest.raises(OSError, match=r".*") as caught:
        open_beneath(root, "folder/new", os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode=0o600)
    assert caught.value.errno == errno.EEXIST
