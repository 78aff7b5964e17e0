"""Files of exported objects: whole ones alone are read."""

import gzip
import json
import resource
from pathlib import Path

import pytest

from upwell.api.core import Secret
from upwell.api.meta import ObjectMeta
from upwell.cli.core.errors import CommandError
from upwell.cli.transfer.archive import audit_files, read_archive, write_archive, write_files

SECRET = Secret(metadata=ObjectMeta(name="login", namespace="shop"))


def test_what_was_written_is_read(tmp_path: Path) -> None:
    log = tmp_path / "audit.log"
    log.write_bytes(b"x" * 1_500_000)
    path = tmp_path / "objects.gz"
    write_archive(path, [SECRET], [log])
    archive = read_archive(path)
    assert [one.key for one in archive.resources] == [SECRET.key]
    assert archive.files == {"audit.log": log.read_bytes()}
    assert path.stat().st_mode & 0o077 == 0  # it has Secrets


def test_a_file_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "objects.gz").write_text("kept")
    with pytest.raises(CommandError, match="exists already"):
        write_archive(tmp_path / "objects.gz", [SECRET], [])
    assert (tmp_path / "objects.gz").read_text() == "kept"


def test_whoever_has_made_a_file_of_the_drafts_name_reads_no_secrets(tmp_path: Path) -> None:
    (tmp_path / "theirs").write_text("kept")
    draft = tmp_path / ".objects.gz.part"
    draft.symlink_to(tmp_path / "theirs")
    write_archive(tmp_path / "objects.gz", [SECRET], [])
    assert (tmp_path / "theirs").read_text() == "kept"
    assert not draft.is_symlink()
    assert not (tmp_path / "objects.gz").is_symlink()


def lines(path: Path) -> list[bytes]:
    return gzip.decompress(path.read_bytes()).splitlines(keepends=True)


def test_a_file_that_was_cut_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "objects.gz"
    write_archive(path, [SECRET, SECRET], [])
    content, whole = path.read_bytes(), lines(path)
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(CommandError, match="damaged"):
        read_archive(path)
    path.write_bytes(gzip.compress(b"".join(whole[:-1])))
    with pytest.raises(CommandError, match="is cut"):
        read_archive(path)


@pytest.mark.parametrize("name", ["../audit.log", "/etc/audit", "upwell.db", "audit/../x"])
def test_files_of_an_export_are_those_of_the_audit_log(tmp_path: Path, name: str) -> None:
    path = tmp_path / "objects.gz"
    write_archive(path, [], [])
    head, end = lines(path)
    hostile = json.dumps({"file": name, "content": ""}).encode()
    path.write_bytes(gzip.compress(head + hostile + b"\n" + end))
    with pytest.raises(CommandError, match="a file is named"):
        read_archive(path)


@pytest.mark.parametrize("content", [b"", b"plain text", gzip.compress(b"[]\n", mtime=0)])
def test_another_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "objects.gz").write_bytes(content)
    with pytest.raises(CommandError, match=r"objects\.gz"):
        read_archive(tmp_path / "objects.gz")


def test_files_that_could_not_be_written_are_written_by_the_next_call(tmp_path: Path) -> None:
    files = {"audit.key": b"key", "audit.log": b"line" * 100_000}
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            write_files(files, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not (tmp_path / "audit.log").exists()
    write_files(files, tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == files


def test_what_a_killed_import_has_half_written_is_not_exported(tmp_path: Path) -> None:
    names = ("audit.key", "audit.log", "audit.log.000000000001.gz", "audit.pub")
    drafts = ("audit.log.new", "audit.log.000000000002.gz.new")
    for name in (*names, *drafts):
        (tmp_path / name).touch()
    assert [path.name for path in audit_files(tmp_path)] == [*names]


def test_another_audit_log_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "audit.log").write_bytes(b"other")
    with pytest.raises(CommandError, match="another audit log"):
        write_files({"audit.key": b"key", "audit.log": b"line"}, tmp_path)
    assert not (tmp_path / "audit.key").exists()
