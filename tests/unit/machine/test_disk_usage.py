"""Room of trees on the disk, as du counts it."""

from pathlib import Path

import pytest

from upwell.machine.disk import DiskUsageError, disk_usage_of

MIB = 1024 * 1024
PROGRAM = """#!/bin/sh
printf '%s'
exit 1
"""


def replaced(folder: Path, monkeypatch: pytest.MonkeyPatch, printed: str) -> None:
    program = folder / "du"
    program.write_text(PROGRAM % printed)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


async def test_all_trees_count_together(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_bytes(bytes(MIB))
    assert 2 * MIB <= await disk_usage_of([tmp_path / "a", tmp_path / "b"], 10) < 3 * MIB
    assert await disk_usage_of([], 10) == 0


async def test_what_goes_away_meanwhile_does_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = r"du: cannot access '\''/v/pg_temp'\'': No such file or directory\n"
    replaced(tmp_path, monkeypatch, rf"{gone}4096\t/v\n4096\ttotal\n")
    assert await disk_usage_of([tmp_path], 10) == 4096


async def test_a_tree_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DiskUsageError, match="gone': No such file"):
        await disk_usage_of([tmp_path / "gone"], 10)


async def test_what_may_not_be_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    denied = r"du: cannot read directory '\''/v/secret'\'': Permission denied\n"
    replaced(tmp_path, monkeypatch, rf"{denied}4096\t/v\n4096\ttotal\n")
    with pytest.raises(DiskUsageError, match="secret': Permission denied"):
        await disk_usage_of([tmp_path], 10)


async def test_a_program_that_is_missing_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DiskUsageError, match="du: No such file"):
        await disk_usage_of([tmp_path], 10)
