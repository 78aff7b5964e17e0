"""Copies of the source tree that images are built from: whole, and of one moment."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.support.paths import ROOT

_TAR = shutil.which("tar") or "tar"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    tree = tmp_path / "tree"
    (tree / "scripts").mkdir(parents=True)
    shutil.copy2(ROOT / "scripts/snapshot-tree", tree / "scripts")
    (tree / ".gitignore").write_text("*.log\n")
    (tree / "first").write_text("1")
    (tree / "second").write_text("1")
    return tree


def versioned(tree: Path) -> None:
    for words in (["init", "--quiet"], ["add", "--all"]):
        subprocess.run(["git", "-C", tree, *words], check=True)


def snapshot(tree: Path, programs: Path | None = None) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(
        [str(programs), os.environ["PATH"]] if programs else [os.environ["PATH"]]
    )
    command = [tree / "scripts/snapshot-tree", tree.parent / "copy"]
    environment = {**os.environ, "PATH": path}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def content(folder: Path) -> dict[str, str]:
    found = (path for path in folder.rglob("*") if not path.is_dir() or path.is_symlink())
    names = {str(path.relative_to(folder)): path for path in found}
    return {
        name: str(path.readlink()) if path.is_symlink() else path.read_text()
        for name, path in names.items()
        if not name.startswith(".git/")
    }


def writing_tar(folder: Path, times: int) -> Path:
    """Write a tar that has somebody write both files, so often, when it has read them."""
    folder.mkdir()
    program = folder / "tar"
    program.write_text(
        f'#!/bin/sh\n{_TAR} "$@" || exit\ncd {folder.parent / "tree"}\n'
        f'case $1 in --create) number=$(cat first); [ "$number" -gt {times} ] ||'
        " { echo $((number + 1)) >first; echo $((number + 1)) >second; } ;; esac\n"
    )
    program.chmod(0o755)
    return folder


def test_a_copy_has_what_git_does_not_ignore_as_it_is_now(tree: Path) -> None:
    (tree / "gone").write_text("removed since")
    versioned(tree)
    (tree / "gone").unlink()
    (tree / "second").write_text("changed since")
    (tree / "new file\n").write_text("not added yet")
    (tree / "link").symlink_to("nowhere")
    wanted = content(tree)
    (tree / "noise.log").write_text("ignored")

    assert snapshot(tree).returncode == 0

    assert content(tree.parent / "copy") == wanted
    assert os.access(tree.parent / "copy/scripts/snapshot-tree", os.X_OK)


def test_without_git_what_tools_leave_behind_is_left_out(tree: Path) -> None:
    wanted = content(tree)
    (tree / ".venv/bin").mkdir(parents=True)
    (tree / ".venv/bin/python").write_text("of this machine")

    assert snapshot(tree).returncode == 0

    assert content(tree.parent / "copy") == wanted


def test_files_that_change_while_they_are_read_are_read_again(tree: Path, tmp_path: Path) -> None:
    versioned(tree)

    assert snapshot(tree, writing_tar(tmp_path / "programs", times=2)).returncode == 0

    assert content(tmp_path / "copy") == content(tree)
    assert (tmp_path / "copy/first").read_text() == "3\n"


def test_a_tree_that_never_rests_is_refused(tree: Path, tmp_path: Path) -> None:
    versioned(tree)

    told = snapshot(tree, writing_tar(tmp_path / "programs", times=1000))

    assert told.returncode == 1
    assert "changes all the time: build when nobody writes there" in told.stderr
    assert "first" in told.stderr
    assert content(tmp_path / "copy") == {}
