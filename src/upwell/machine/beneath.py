"""Opens what lies in a folder that somebody else filled: nothing of it leads out (openat2(2))."""

import ctypes
import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

_OPENAT2 = 437
"""The number of the system call, on every architecture (Linux 5.6)."""

_NO_MAGIC_LINKS, _NO_SYMLINKS, _BENEATH = 0x02, 0x04, 0x08
_TRIES = 32
"""The kernel gives up (EAGAIN) when something is renamed while it looks."""

_LEFT = frozenset({errno.EXDEV, errno.ELOOP})


class LeavesFolderError(OSError):
    """A path leads out of its folder, by `..` or by a link; `path` is as it was asked for."""

    def __init__(self, path: str) -> None:
        super().__init__(errno.EXDEV, f"{path!r} leads out of its folder, or is a link")
        self.path = path


class _OpenHow(ctypes.Structure):
    """The kernel's struct open_how."""

    _fields_ = (
        ("flags", ctypes.c_uint64),
        ("mode", ctypes.c_uint64),
        ("resolve", ctypes.c_uint64),
    )


_libc = ctypes.CDLL(None, use_errno=True)


def open_beneath(
    root: Path | int, path: str, flags: int = os.O_RDONLY, *, links: bool = True, mode: int = 0
) -> int:
    """Open `path` below the folder `root`, which is a path or a descriptor; return a descriptor.

    With `links`, links that stay below `root` are followed; without, none is. A kernel without
    openat2 follows none. Raises LeavesFolderError, or OSError.
    """
    if isinstance(root, int):
        return _open(root, path, flags, links, mode)
    folder = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return _open(folder, path, flags, links, mode)
    finally:
        os.close(folder)


@contextmanager
def opened_beneath(
    root: Path | int, path: str, flags: int = os.O_RDONLY, *, links: bool = True
) -> Iterator[int]:
    """Open as `open_beneath`, and close at the end of the block."""
    descriptor = open_beneath(root, path, flags, links=links)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def read_beneath(root: Path | int, path: str, limit: int, *, links: bool = True) -> bytes:
    """Return the content of a regular file, but at most `limit` + 1 bytes of it.

    Raises LeavesFolderError, or OSError; for what is no regular file too.
    """
    # Whoever made a pipe here would let us wait for ever.
    with opened_beneath(root, path, os.O_RDONLY | os.O_NONBLOCK, links=links) as descriptor:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", path)
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(limit + 1)


def resolve_beneath(root: Path, path: str) -> Path:
    """Return the place that `path` is below `root`, with no link on the way.

    It holds for as long as nobody changes the tree. Raises LeavesFolderError, or OSError.
    """
    with opened_beneath(root, path, os.O_PATH) as descriptor:
        return Path(f"/proc/self/fd/{descriptor}").readlink()


def _open(folder: int, path: str, flags: int, links: bool, mode: int) -> int:  # noqa: FBT001
    if "\0" in path:
        raise LeavesFolderError(path)
    resolve = _BENEATH | _NO_MAGIC_LINKS | (0 if links else _NO_SYMLINKS)
    how = _OpenHow(flags | os.O_CLOEXEC, mode, resolve)
    name = os.fsencode(path or ".")
    for _ in range(_TRIES):
        found = _libc.syscall(_OPENAT2, folder, name, ctypes.byref(how), ctypes.sizeof(how))
        if found >= 0:
            return int(found)
        error = ctypes.get_errno()
        if error in {errno.ENOSYS, errno.EPERM}:
            return _walk(folder, path, flags, mode)
        if error in _LEFT:
            raise LeavesFolderError(path)
        if error != errno.EAGAIN:
            break
    raise OSError(error, os.strerror(error), path)


def _walk(folder: int, path: str, flags: int, mode: int) -> int:
    """Open part by part, where the kernel cannot do it at once; every link is refused."""
    pure = PurePosixPath(path or ".")
    if pure.is_absolute() or ".." in pure.parts:
        raise LeavesFolderError(path)
    at = os.dup(folder)
    *folders, last = pure.parts or (".",)
    try:
        for part in folders:
            below = os.open(part, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=at)
            os.close(at)
            at = below
        return _checked(os.open(last, flags | os.O_NOFOLLOW | os.O_CLOEXEC, mode, dir_fd=at), path)
    except OSError as error:
        # A link on the way was opened as itself, and is no folder to go on from.
        if error.errno in {errno.ELOOP, errno.ENOTDIR}:
            raise LeavesFolderError(path) from error
        raise
    finally:
        os.close(at)


def _checked(descriptor: int, path: str) -> int:
    """Return a descriptor that is no link itself: O_PATH opens links too."""
    if stat.S_ISLNK(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise LeavesFolderError(path)
    return descriptor
