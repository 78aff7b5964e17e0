import os
import resource
import signal
import stat
from pathlib import Path

import pytest

from upwell.machine.private_file import remove_drafts, tighten, write_private, write_whole


@pytest.mark.parametrize("content", ["sécret\n", b"s\xffcret"])
def test_a_private_file_is_replaced_whole_and_is_for_its_owner_alone(
    tmp_path: Path, content: str | bytes
) -> None:
    path = tmp_path / "token"
    path.write_text("old")
    path.chmod(0o644)
    (tmp_path / "token.new").write_text("of a write that was killed")
    (tmp_path / "token.new").chmod(0o666)

    write_private(path, content)

    assert path.read_bytes() == (content.encode() if isinstance(content, str) else content)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_a_draft_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("theirs")
    (tmp_path / "token.new").symlink_to(elsewhere)

    write_private(tmp_path / "token", "mine")

    assert elsewhere.read_text() == "theirs"
    assert (tmp_path / "token").read_text() == "mine"


def test_a_file_that_cannot_be_written_leaves_the_old_one_and_no_draft(tmp_path: Path) -> None:
    path = tmp_path / "state"
    write_whole(path, "old")
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))  # as good as a full disk
    try:
        with pytest.raises(OSError, match="File too large"):
            write_whole(path, "new" * 10)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        signal.signal(signal.SIGXFSZ, before)

    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_says_the_same_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "state"
    write_whole(path, "same")
    number = path.stat().st_ino

    write_whole(path, "same")
    assert path.stat().st_ino == number
    write_whole(path, "other")
    assert path.read_text() == "other"


def test_drafts_of_a_killed_process_are_removed(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("kept")
    (tmp_path / "token.new").write_text("half")

    assert remove_drafts([tmp_path, tmp_path / "missing"]) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["token"]


def test_a_data_folder_that_others_can_enter_is_taken_from_them(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "data"
    (folder / "tls").mkdir(parents=True)
    secrets = ["upwell.db", "upwell.db-wal", "admin.token", "signing.key", "tls/server.key"]
    for name in (*secrets, "containers.conf"):
        (folder / name).write_text("x")
        (folder / name).chmod(0o644)
    (tmp_path / "elsewhere").write_text("x")
    (tmp_path / "elsewhere").chmod(0o644)
    (folder / "workloads").mkdir()
    (folder / "workloads").chmod(0o755)
    (folder / "linked.key").symlink_to(tmp_path / "elsewhere")
    folder.chmod(0o755)

    tighten(folder)

    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "workloads").stat().st_mode) == 0o700
    assert {stat.S_IMODE((folder / name).stat().st_mode) for name in secrets} == {0o600}
    assert stat.S_IMODE((tmp_path / "elsewhere").stat().st_mode) == 0o644
    assert "others could enter the data folder" in caplog.text
    caplog.clear()
    tighten(folder)
    assert caplog.text == ""


def test_the_volume_of_a_pod_stays_as_the_node_has_made_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node owns the root of a volume, and gives it to a group (`fsGroup`): no chmod is ours."""
    folder = tmp_path / "volume"
    folder.mkdir()
    folder.chmod(0o2777)
    (folder / "admin.token").write_text("secret")
    (folder / "admin.token").chmod(0o644)
    monkeypatch.setattr(os, "geteuid", lambda: 10001)
    monkeypatch.setattr(os.path, "ismount", lambda path: path == folder)

    tighten(folder)

    assert stat.S_IMODE(folder.stat().st_mode) == 0o2777
    assert stat.S_IMODE((folder / "admin.token").stat().st_mode) == 0o600
