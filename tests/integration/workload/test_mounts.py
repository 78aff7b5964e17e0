"""Mounts of this machine, and removals that stop before them."""

import os
import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from upwell.api.values.security_context import VolumeGroup
from upwell.workload.podman.volumes.mounts import (
    bind,
    mount_private,
    mounts_below,
    remove_tree,
    unmount,
)
from upwell.workload.podman.volumes.ownership import DEEPEST, TooDeepError, give_to_group


@pytest.fixture(autouse=True)
def clean(tmp_path: Path) -> Iterator[None]:
    yield
    for mounted in mounts_below(tmp_path):
        with suppress(OSError):
            unmount(mounted)
    assert mounts_below(tmp_path) == []


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """Return a folder with files that somebody else owns."""
    folder = tmp_path / "kept"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep/file").write_text("precious")
    return folder


@contextmanager
def nested(folder: Path, levels: int) -> Iterator[None]:
    """Nest folders, as who has a descriptor of each alone can; they go after the block."""
    folder.mkdir()
    here = os.open(folder, os.O_PATH)
    for _ in range(levels):
        os.mkdir("d", dir_fd=here)
        inner = os.open("d", os.O_PATH, dir_fd=here)
        os.close(here)
        here = inner
    os.close(here)
    try:
        yield
    finally:
        subprocess.run(["rm", "-rf", folder], check=True)


@contextmanager
def few_descriptors(count: int = 64) -> Iterator[None]:
    """Let this process open so many more files."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = max(int(one) for one in os.listdir("/proc/self/fd"))  # noqa: PTH208
    resource.setrlimit(resource.RLIMIT_NOFILE, (taken + count, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def bound(source: Path, target: Path, *, recursive: bool = False) -> Path:
    handle = os.open(source, os.O_PATH)
    try:
        bind(handle, target, recursive=recursive)
    finally:
        os.close(handle)
    return target


def test_a_folder_is_removed_without_the_files_that_are_mounted_in_it(
    tmp_path: Path, kept: Path
) -> None:
    doomed = tmp_path / "doomed"
    doomed.mkdir()
    (doomed / "own").write_text("x")
    bound(kept, doomed / "mounted")
    remove_tree(doomed)

    assert not doomed.exists()
    assert (kept / "deep/file").read_text() == "precious"


def test_a_deep_folder_is_removed_with_few_descriptors(tmp_path: Path) -> None:
    doomed = tmp_path / "doomed"
    with nested(doomed, 3000), few_descriptors():
        remove_tree(doomed)
    assert not doomed.exists()


def test_a_group_is_given_no_deeper_than_descriptors_reach(tmp_path: Path) -> None:
    group = VolumeGroup(7)
    (tmp_path / "v/a/b").mkdir(parents=True)
    with nested(tmp_path / "v/deep", 3000):
        with pytest.raises(TooDeepError), few_descriptors(DEEPEST + 100):
            give_to_group(tmp_path / "v", group)
        remove_tree(tmp_path / "v/deep")
    give_to_group(tmp_path / "v", group)
    assert (tmp_path / "v/a/b").stat().st_gid == group.group


def test_mounts_that_lie_one_on_another_all_go_first(tmp_path: Path, kept: Path) -> None:
    doomed = tmp_path / "with a blank\\"
    doomed.mkdir()
    mounted = bound(kept, doomed / "mounted")
    subprocess.run(["mount", "--bind", str(kept), str(mounted)], check=True)
    subprocess.run(["mount", "--bind", str(kept), str(mounted / "deep")], check=True)
    assert len(mounts_below(doomed)) == 3
    remove_tree(doomed)

    assert not doomed.exists()
    assert (kept / "deep/file").read_text() == "precious"


def test_a_folder_that_is_a_mount_itself_loses_no_file(tmp_path: Path, kept: Path) -> None:
    mounted = bound(kept, tmp_path / "mounted")
    remove_tree(mounted)

    assert (kept / "deep/file").read_text() == "precious"


def test_a_link_is_not_followed(tmp_path: Path, kept: Path) -> None:
    (tmp_path / "link").symlink_to(kept)
    remove_tree(tmp_path / "link")
    remove_tree(tmp_path / "nothing")

    assert (kept / "deep/file").exists()


def test_what_was_opened_is_bound_whatever_takes_its_name(tmp_path: Path, kept: Path) -> None:
    handle = os.open(kept, os.O_PATH)
    kept.rename(tmp_path / "moved")
    kept.symlink_to("/etc")
    try:
        bind(handle, tmp_path / "mounted")
    finally:
        os.close(handle)

    assert (tmp_path / "mounted/deep/file").read_text() == "precious"


def test_a_file_is_bound_to_a_file(tmp_path: Path, kept: Path) -> None:
    mounted = bound(kept / "deep/file", tmp_path / "mounted")

    assert mounted.read_text() == "precious"


def test_an_unmount_leaves_the_mounts_that_came_along(tmp_path: Path, kept: Path) -> None:
    # As systemd has it: every mount is shared, and an unmount goes where it was bound from.
    subprocess.run(["mount", "--bind", str(kept), str(kept)], check=True)
    subprocess.run(["mount", "--make-shared", str(kept)], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(kept / "deep")], check=True)
    mounted = bound(kept, tmp_path / "mounted", recursive=True)
    assert (mounted / "deep").is_mount()
    unmount(mounted)

    assert mounts_below(mounted) == []
    assert (kept / "deep").is_mount()
    unmount(mounted)


def test_a_private_place_goes_with_all_that_is_bound_there(tmp_path: Path, kept: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    mount_private(place)
    bound(kept, place / "mounted")
    unmount(place)

    assert mounts_below(tmp_path) == []
    assert list(place.iterdir()) == []
    assert (kept / "deep/file").exists()
