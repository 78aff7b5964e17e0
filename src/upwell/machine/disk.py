"""Room on the file systems that the server writes to, and whether it is below the floor.

Below the floor only what frees space goes on, so that there is always room for statuses. What takes
the room is counted by a process of its own.
"""

import errno
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from upwell.machine.process import run_command

MIB = 1024 * 1024
GIB = 1024 * MIB
_GONE = "No such file or directory"

_SHARE = 20
"""The floor is this part of a file system, and …"""
_LEAST, _MOST = 64 * MIB, GIB
"""… lies between these, but is …"""
_LARGEST_SHARE = 4
"""… at most this part of a small one."""
_INODE_SHARE = 100
"""Part of all inodes that stays free."""
_MACHINE_FAULTS = frozenset({
    errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM,
})  # fmt: skip
WARNED_SHARE = 0.8
"""Of a file system in use: told long before the floor."""
_RELIEF = 1.1
"""The pressure ends at so many times the floor, so that it does not come and go."""
_KEPT_BACK = 16 * MIB
_BLOCK = 512
"""Bytes of one of stat(2)'s blocks."""
_KEPT_BACK_SHARE = 64
"""A small file system keeps this part of it back."""


class DiskFault(StrEnum):
    """Reasons for which nothing that takes space is begun."""

    FULL = "DiskPressure"
    FILLING = "DiskFilling"
    READ_ONLY = "ReadOnlyFileSystem"
    FAILED = "StorageFailed"
    REMOVED = "DatabaseRemoved"


@dataclass(frozen=True, slots=True)
class DiskPressure:
    """A fault of one file system."""

    reason: DiskFault
    message: str
    """File system, fault and next step, for people."""


class DiskPressureError(Exception):
    """Work that takes space was asked for while there is none to spare."""

    reason = str(DiskFault.FULL)
    retryable = True


type Statvfs = Callable[[Path], os.statvfs_result]
type PressureCheck = Callable[[], str]
"""Returns what keeps work that takes space waiting; empty when nothing does."""


def no_pressure() -> str:
    """Return that there is room: a PressureCheck for a place that nobody watches."""
    return ""


def default_floor(size: int) -> int:
    """Return the bytes that stay free of a file system of `size` bytes."""
    return min(max(size // _SHARE, _LEAST), _MOST, size // _LARGEST_SHARE)


class DiskSpace:
    """Room below some folders, as of the last look; folders on one file system count once."""

    def __init__(
        self,
        folders: Sequence[Path],
        floor: int | None = None,
        statvfs: Statvfs = os.statvfs,
        databases: Sequence[Path] = (),
    ) -> None:
        """`databases` are open: one that is removed or replaced by another is a fault."""
        self._databases = {path: _identity(path) for path in databases}
        self._folders = folders
        self._floor = floor
        self._statvfs = statvfs
        self._free: Mapping[Path, int] = {}
        self._pressed: Collection[Path] = frozenset()
        self._faults: Sequence[DiskPressure] = ()
        self._used: Mapping[Path, float] = {}
        self._warned: Mapping[Path, str] = {}

    @property
    def free(self) -> Mapping[Path, int]:
        """Bytes that are free, by the first folder of each file system."""
        return self._free

    @property
    def fault(self) -> DiskPressure | None:
        """The worst that is wrong."""
        return min(self._faults, key=lambda one: one.reason is DiskFault.FULL, default=None)

    @property
    def used(self) -> Mapping[Path, float]:
        """Part of each file system that is in use, 0 to 1."""
        return self._used

    @property
    def warning(self) -> DiskPressure | None:
        """The file systems that fill up, while each has room; they keep nothing waiting."""
        if not self._warned:
            return None
        return DiskPressure(DiskFault.FILLING, "; ".join(self._warned.values()))

    def pressure(self) -> str:
        """Return what keeps work that takes space waiting; empty when nothing does."""
        return self.fault.message if self.fault is not None else ""

    def look(self) -> None:
        """Look at each file system: microseconds, but of one on a network any time."""
        free: dict[Path, int] = {}
        used: dict[Path, float] = {}
        warned: dict[Path, str] = {}
        faults: list[DiskPressure] = []
        pressed: set[Path] = set()
        for folder in self._distinct():
            try:
                facts = self._statvfs(_existing(folder))
            except OSError as error:
                faults.append(_unreadable(folder, error))
                continue
            free[folder] = facts.f_bavail * facts.f_frsize
            used[folder] = _used(facts)
            if text := self._filling(folder, facts):
                warned[folder] = text
            fault = self._judge(folder, facts)
            if fault is not None:
                faults.append(fault)
                pressed.add(folder)
        for path, was in self._databases.items():
            found = _identity(path)
            self._databases[path] = was or found  # it may have been made since
            if was and found != was:
                faults.append(_removed(path))
        self._free, self._faults, self._pressed = free, faults, pressed
        self._used, self._warned = used, warned

    def _distinct(self) -> Collection[Path]:
        found: dict[int, Path] = {}
        for folder in self._folders:
            try:
                found.setdefault(_existing(folder).stat().st_dev, folder)
            except OSError:
                found.setdefault(-len(found) - 1, folder)  # looked at again, and reported, above
        return found.values()

    def _filling(self, folder: Path, facts: os.statvfs_result) -> str:
        least = WARNED_SHARE / (_RELIEF if folder in self._warned else 1.0)
        if _used(facts) < least:
            return ""
        size = facts.f_blocks * facts.f_frsize
        floor = default_floor(size) if self._floor is None else self._floor
        return (
            f"{folder} is about {WARNED_SHARE:.0%} full, or more, of {_mib(size)}; when less than"
            f" {_mib(floor)} are free, builds, imports of content, uploads and pulls wait: `upwell"
            " doctor` on the machine says what takes the room, and how to free some"
        )

    def _judge(self, folder: Path, facts: os.statvfs_result) -> DiskPressure | None:
        if facts.f_flag & os.ST_RDONLY:
            what = f"the file system of {folder} is read-only: see `dmesg`, and mount it again"
            return DiskPressure(DiskFault.READ_ONLY, what)
        size, free = facts.f_blocks * facts.f_frsize, facts.f_bavail * facts.f_frsize
        floor = default_floor(size) if self._floor is None else self._floor
        needed = _RELIEF if folder in self._pressed else 1.0
        if free < floor * needed:
            return _full(f"{folder} has less free than its floor of {_mib(floor)}", _mib(size))
        inodes = facts.f_files // _INODE_SHARE  # 0 where the file system does not count them
        if facts.f_favail < inodes * needed:
            return _full(
                f"{folder} has fewer inodes free than its floor of {inodes}", str(facts.f_files)
            )
        return None


class KeptBackRoom:
    """A file that takes room while there is plenty, so that a full disk still has some.

    What else fills the disk takes the last byte of it; statuses, Events and notices of that are
    then written where this file was.
    """

    def __init__(self, path: Path, statvfs: Statvfs = os.statvfs) -> None:
        self._path = path
        self._statvfs = statvfs

    def adjust(self, *, pressed: bool) -> None:
        """Keep room back while nothing presses; else give it, once less than that is free.

        Blocks as DiskSpace.look; what cannot be done is tried again at the next call.
        """
        try:
            facts = self._statvfs(self._path.parent)
            size = min(_KEPT_BACK, facts.f_blocks * facts.f_frsize // _KEPT_BACK_SHARE)
            if pressed and facts.f_bavail * facts.f_frsize < size:
                self._path.unlink(missing_ok=True)
            elif not pressed and not self._keeps(size):
                self._keep(size)
        except OSError:
            return  # whether the file system answers is DiskSpace's to tell

    def _keeps(self, size: int) -> bool:
        try:
            facts = self._path.stat()
        except FileNotFoundError:
            return False
        # A copy of the folder has the size, and holes (cp(1) makes them): those keep no room.
        return facts.st_size >= size and facts.st_blocks * _BLOCK >= size

    def _keep(self, size: int) -> None:
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, size)
        finally:
            os.close(descriptor)


def _used(facts: os.statvfs_result) -> float:
    """Return the part that is in use of what may be, as df(1) counts it."""
    used = facts.f_blocks - facts.f_bfree
    return used / (used + facts.f_bavail) if used + facts.f_bavail else 0.0


def is_machine_fault(error: BaseException) -> bool:
    """Return whether the machine could not do what was asked: no room, no descriptor, no memory."""
    return isinstance(error, OSError) and error.errno in _MACHINE_FAULTS


def is_full(error: OSError) -> bool:
    """Return whether a write failed since there is no room for it."""
    return error.errno in {errno.ENOSPC, errno.EDQUOT}


def _full(what: str, size: str) -> DiskPressure:
    """Say it without what changes all the time, so that whoever is told is told the same."""
    step = "builds, imports of content, uploads and pulls wait: free space, or enlarge the disk"
    return DiskPressure(DiskFault.FULL, f"{what}, of {size} in all; {step}")


def _unreadable(folder: Path, error: OSError) -> DiskPressure:
    what = f"the file system of {folder} does not answer: {error.strerror}; see `dmesg`"
    return DiskPressure(DiskFault.FAILED, what)


def _identity(path: Path) -> tuple[int, int] | None:
    """Return what tells a file from another of its name; None if there is none."""
    try:
        facts = path.stat()
    except OSError:
        return None
    return facts.st_dev, facts.st_ino


def _removed(path: Path) -> DiskPressure:
    what = (
        f"{path} was removed or replaced while the server has it open: what is written since is"
        " lost at the next start. Save your objects (`upwell get KIND -o yaml`), stop the server,"
        " and restore a copy with its -wal file"
    )
    return DiskPressure(DiskFault.REMOVED, what)


def _existing(folder: Path) -> Path:
    """Return the folder, or the one above it that it will be made in."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder


def _mib(size: int) -> str:
    return f"{size / GIB:.1f} GiB" if size >= GIB else f"{size // MIB} MiB"


class DiskUsageError(Exception):
    """The room of trees cannot be counted: not in time, or not all of them may be read."""


async def disk_usage_of(
    trees: Collection[Path | str], seconds: float, *, across_mounts: bool = False
) -> int:
    """Return the bytes of trees on their disk, all together; raises DiskUsageError.

    What goes away meanwhile is not there to be counted. With `across_mounts`, what is mounted in
    them counts too.
    """
    if not trees:
        return 0
    options = ["--total", "--summarize", "--block-size=1"]
    options += [] if across_mounts else ["--one-file-system"]
    paths = map(str, trees)
    environment = {"LC_ALL": "C"}
    done = await run_command(
        "du", *options, "--", *paths, seconds=seconds, variables=environment, whole=True
    )
    missing = {f"du: cannot access '{one}': {_GONE}" for one in trees}
    faults = [
        line
        for line in done.output.splitlines()
        if line.startswith("du: ") and (line in missing or not line.endswith(_GONE))
    ]
    size = done.last_line.partition("\t")[0]
    if faults or not size.isdecimal():
        raise DiskUsageError(faults[0] if faults else done.last_line or "du: no answer")
    return int(size)
