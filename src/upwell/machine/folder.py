"""Folders of our own: for one piece of work, removed as a whole, and those kept as a cache."""

import os
import shutil
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

from upwell.machine.private_file import write_private


class PrivateFolder:
    """A folder that only we may enter (mode 0700)."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def create(self) -> None:
        """Make the folder; nothing happens if it is there."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)

    def empty(self, name: str) -> Path:
        """Make an empty folder inside, in place of what an earlier attempt left; return it."""
        path = self.path / name
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir(mode=0o755)
        return path

    def write(self, name: str, text: str) -> Path:
        """Write a file that only we may read; return its path."""
        path = self.path / name
        write_private(path, text)
        return path

    def remove(self) -> None:
        """Delete the folder; idempotent."""
        shutil.rmtree(self.path, ignore_errors=True)


def make_passage(path: Path) -> None:
    """Make a folder that others may pass through but not list, in one where all may write.

    Raises PermissionError for one that is there and somebody else's.
    """
    path.mkdir(mode=0o711, exist_ok=True)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise PermissionError(f"{path} is not ours: remove it")


def remove_deep(folder: Path) -> None:
    """Remove a folder that strangers have filled; what cannot go stays, and what is mounted below.

    However deep it is: shutil.rmtree holds a descriptor of each level, and programs that run in a
    container can nest more folders than the server may have descriptors.
    """
    # rm(1) holds a few, whatever the depth, and nobody's names become options.
    subprocess.run(
        ["rm", "--recursive", "--force", "--one-file-system", "--", os.fsencode(folder)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=False,
    )


def remove_least_recent(
    folder: Path, limit_bytes: int, size_of: Callable[[Path], int], is_busy: Callable[[str], bool]
) -> list[str]:
    """Remove the folders below `folder` that were used least recently, until the rest fits.

    The time of use is the folder's mtime. Returns the names of those that went; one that is busy
    stays, and counts.
    """
    removed = []
    total = 0
    for path in sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True):
        total += size_of(path)
        if total > limit_bytes and not is_busy(path.name):
            remove_deep(path)
            removed.append(path.name)
    return removed
