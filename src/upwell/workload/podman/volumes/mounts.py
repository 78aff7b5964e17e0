"""Mounts of this machine: which there are, binding what is opened, removing folders around them.

Nothing is ever removed through a mount: what is shown there belongs to somebody else, and its files
would go too.
"""

import contextlib
import ctypes
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from upwell.machine.folder import remove_deep

_BIND, _RECURSIVE, _PRIVATE = 0x1000, 0x4000, 1 << 18
_NO_SUID, _NO_DEVICES, _NO_EXECUTION = 2, 4, 8
"""Flags of mount(2)."""
_DETACH, _NO_FOLLOW = 2, 8
"""Flags of umount2(2)."""
_OPEN_TREE, _MOVE_MOUNT, _MOUNT_SETATTR = 428, 429, 442
"""Numbers of system calls (syscalls(2)): the same on every architecture."""
_CLONE, _EMPTY_PATH, _ALL_BELOW, _CLOSE_ON_EXEC = 1, 0x1000, 0x8000, os.O_CLOEXEC
_MOVE_EMPTY_PATH, _HERE = 4, -100
_MAP_IDS = 0x100000
"""MOUNT_ATTR_IDMAP of mount_setattr(2)."""
_NO_MAPS = frozenset({errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS, errno.EPERM})
"""Errors of mount_setattr(2) for a file system or kernel that cannot; all others may pass."""
_OCTAL = 8
_TMPFS_OPTIONS = "mode=0700,size=1m"

_libc = ctypes.CDLL(None, use_errno=True)


class MountedError(OSError):
    """A folder is not removed, since something is mounted at or below it."""

    def __init__(self, folder: Path, mounted: Path) -> None:
        super().__init__(errno.EBUSY, f"{mounted} is mounted there: unmount it", str(folder))


class UnmappableError(OSError):
    """A file system, or this kernel, does not show files under other ids."""


class _Attributes(ctypes.Structure):
    """struct mount_attr of mount_setattr(2)."""

    _fields_ = (
        ("attr_set", ctypes.c_uint64),
        ("attr_clr", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    )


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
    unmount_below(folder)
    remove_deep(folder)


def unmount_below(folder: Path) -> None:
    """Unmount what is mounted at and below a folder; raises MountedError for what stays."""
    for mounted in mounts_below(folder):
        try:
            unmount(mounted)
        except OSError as error:
            raise MountedError(folder, mounted) from error
    if still := mounts_below(folder):  # one lay under another, or came meanwhile
        raise MountedError(folder, still[0])


def mount_private(folder: Path) -> None:
    """Mount a small file system in memory at a folder, whose mounts nobody else sees."""
    flags = _NO_SUID | _NO_DEVICES | _NO_EXECUTION
    _mount("upwell", folder, "tmpfs", flags, _TMPFS_OPTIONS)
    _mount(None, folder, None, _PRIVATE)


def mount_memory(folder: Path, size: int) -> None:
    """Mount a file system in memory for `size` bytes at a folder, whose mounts nobody else sees."""
    _mount("upwell", folder, "tmpfs", _NO_SUID | _NO_DEVICES, f"mode=0700,size={size}")
    _mount(None, folder, None, _PRIVATE)


def bind(
    handle: int, target: Path, *, recursive: bool = False, namespace: int | None = None
) -> None:
    """Mount what is opened as `handle` at `target`, which is made: a folder or a file as it is.

    It is this very folder or file that is mounted, whatever takes its name meanwhile. With
    `recursive` the mounts below it come along. With `namespace`, a descriptor of a user namespace,
    files have the ids there that they have on the disk: its root is the owner of root's files.
    Raises UnmappableError, before `target` is made, or OSError.
    """
    tree = None if namespace is None else _mapped(handle, namespace, recursive=recursive)
    try:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            target.mkdir(mode=0o700)
        else:
            target.touch(mode=0o600, exist_ok=False)
        if tree is None:
            flags = _BIND | (_RECURSIVE if recursive else 0)
            _mount(f"/proc/self/fd/{handle}", target, None, flags)
            _mount(None, target, None, _PRIVATE | _RECURSIVE)
        else:
            _call(target, _MOVE_MOUNT, tree, b"", _HERE, os.fsencode(target), _MOVE_EMPTY_PATH)
    finally:
        if tree is not None:
            os.close(tree)


def require_mappable(folder: Path, namespace: int) -> None:
    """Raise UnmappableError unless files of a folder can be shown under a namespace's ids."""
    handle = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.close(_mapped(handle, namespace, recursive=False))
    finally:
        os.close(handle)


def _mapped(handle: int, namespace: int, *, recursive: bool) -> int:
    """Return a mount of what is opened, mounted nowhere yet, with ids mapped by a namespace."""
    place = Path(f"/proc/self/fd/{handle}").readlink()
    below = _ALL_BELOW if recursive else 0
    try:
        flags = _CLONE | _EMPTY_PATH | _CLOSE_ON_EXEC | below
        tree = _call(place, _OPEN_TREE, handle, b"", flags)
        try:
            wanted = _Attributes(_MAP_IDS, 0, _PRIVATE, namespace)
            size = ctypes.c_size_t(ctypes.sizeof(wanted))
            flags = _EMPTY_PATH | below
            _call(place, _MOUNT_SETATTR, tree, b"", flags, ctypes.byref(wanted), size)
        except BaseException:
            os.close(tree)
            raise
    except OSError as error:
        if error.errno not in _NO_MAPS:
            raise
        why = f"its file system maps no ids: {error.strerror}"
        raise UnmappableError(error.errno, why, str(place)) from error
    return tree


def _call(place: Path, number: int, *arguments: object) -> int:
    result = int(_libc.syscall(ctypes.c_long(number), *arguments))
    _check(min(result, 0), place)
    return result


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
