"""Mounts of this machine: which there are, binding what is opened, removing folders around them.

Nothing is ever removed through a mount: what is shown there belongs to somebody else, and its files
would go too.
"""

import contextlib
import ctypes
import errno
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

_BIND, _RECURSIVE, _PRIVATE = 0x1000, 0x4000, 1 << 18
_NO_SUID, _NO_DEVICES, _NO_EXECUTION = 2, 4, 8
"""Flags of mount(2)."""
_DETACH, _NO_FOLLOW = 2, 8
"""Flags of umount2(2)."""
_OCTAL = 8
_TMPFS_OPTIONS = "mode=0700,size=1m"

_libc = ctypes.CDLL(None, use_errno=True)


class MountedError(OSError):
    """A folder is not removed, since something is mounted at or below it."""

    def __init__(self, folder: Path, mounted: Path) -> None:
        super().__init__(errno.EBUSY, f"{mounted} is mounted there: unmount it", str(folder))


def mounts_below(folder: Path) -> list[Path]:
    """Return the mount points at and below `folder`, the innermost first."""
    root = folder.resolve()
    return sorted((one for one in _mount_points() if one.is_relative_to(root)), reverse=True)


def remove_tree(folder: Path) -> None:
    """Remove a folder with all below; nothing happens when there is none.

    What is mounted there is unmounted, and keeps its files. Raises MountedError, before anything is
    removed, when that fails; what else cannot be removed stays.
    """
    if folder.is_symlink() or not folder.exists():
        return
    for mounted in mounts_below(folder):
        try:
            unmount(mounted)
        except OSError as error:
            raise MountedError(folder, mounted) from error
    if still := mounts_below(folder):  # one lay under another, or came meanwhile
        raise MountedError(folder, still[0])
    shutil.rmtree(folder, ignore_errors=True)


def mount_private(folder: Path) -> None:
    """Mount a small file system in memory at a folder, whose mounts nobody else sees."""
    flags = _NO_SUID | _NO_DEVICES | _NO_EXECUTION
    _mount("upwell", folder, "tmpfs", flags, _TMPFS_OPTIONS)
    _mount(None, folder, None, _PRIVATE)


def bind(handle: int, target: Path, *, recursive: bool = False) -> None:
    """Mount what is opened as `handle` at `target`, which is made: a folder or a file as it is.

    It is this very folder or file that is mounted, whatever takes its name meanwhile. With
    `recursive` the mounts below it come along. Raises OSError.
    """
    if stat.S_ISDIR(os.fstat(handle).st_mode):
        target.mkdir(mode=0o700)
    else:
        target.touch(mode=0o600, exist_ok=False)
    _mount(f"/proc/self/fd/{handle}", target, None, _BIND | (_RECURSIVE if recursive else 0))
    _mount(None, target, None, _PRIVATE | _RECURSIVE)


def unmount(target: Path) -> None:
    """Unmount what is at `target` and below; nothing happens when nothing is. Raises OSError."""
    with contextlib.suppress(FileNotFoundError):
        # Private first: else the mounts below would go where they were bound from, too.
        try:
            _mount(None, target, None, _PRIVATE | _RECURSIVE)
        except OSError as error:
            if error.errno == errno.EINVAL:
                return  # no mount point
            raise
        _check(_libc.umount2(os.fsencode(target), _DETACH | _NO_FOLLOW), target)


def _mount(
    source: str | None, target: Path, kind: str | None, flags: int, options: str | None = None
) -> None:
    texts = [None if text is None else text.encode() for text in (source, kind, options)]
    result = _libc.mount(texts[0], os.fsencode(target), texts[1], ctypes.c_ulong(flags), texts[2])
    _check(result, target)


def _check(result: int, target: Path) -> None:
    if result:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), str(target))


def _mount_points() -> Iterator[Path]:
    for line in Path("/proc/self/mountinfo").read_bytes().splitlines():
        yield Path(os.fsdecode(_unescaped(line.split(b" ")[4])))


def _unescaped(text: bytes) -> bytes:
    r"""Return a field of mountinfo as it is (proc(5): blanks and backslashes stand as `\040`)."""
    first, *others = text.split(b"\\")
    return first + b"".join(bytes([int(one[:3], _OCTAL)]) + one[3:] for one in others)
