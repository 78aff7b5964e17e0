"""Processes of this machine: whether one still is what it was taken for, and when one ends."""

import asyncio
import contextlib
import os
import signal
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_PROC = Path("/proc")
_HAS_ENDED = frozenset("ZX")
_AT_WORK = frozenset("RD")
"""It runs, waits for a processor, or for a disk."""
_SESSION = 3
"""Field 6 of /proc/PID/stat, counted from the one after the name."""
_STARTTIME = 19
"""Field 22 of /proc/PID/stat, counted from the one after the name."""


def boot_identity() -> str:
    """Return what tells this run of the machine from those before; empty where nothing does.

    The kernel's name for it, and the start of the first process: of a container, that alone is new.
    """
    try:
        start = _fields(_PROC / "1")[_STARTTIME]
        return f"{_BOOT_ID.read_text().strip()}/{start}"
    except (OSError, IndexError):
        return ""


def process_namespace() -> str:
    """Return what tells the numbers of this process's machine or container from those of others.

    Empty where nothing does (pid_namespaces(7)).
    """
    try:
        return str((_PROC / "self/ns/pid").readlink())
    except OSError:
        return ""


def is_process_of(pid: int, identity: str) -> bool:
    """Return True if a process of that number runs, and bears `identity` that nobody else has.

    A number alone is no evidence: after a power cut, or when numbers come round, it belongs to
    somebody else. The identity (a container's ID) is looked for in the command line and in the name
    of the control group, as neither changes with the clock. A process that has ended and that
    nobody has waited for does not count.
    """
    if pid <= 0:
        return False
    place, wanted = _PROC / str(pid), identity.encode()
    with contextlib.suppress(OSError, IndexError):
        if _fields(place)[0] in _HAS_ENDED:
            return False
        return any(wanted in (place / name).read_bytes() for name in ("cmdline", "cgroup"))
    return False


def sessions() -> Mapping[int, set[int]]:
    """Return the processes of each session, by the process that began it; blocks.

    A session is a process with all that it has started, but for what has begun one of its own.
    """
    found: defaultdict[int, set[int]] = defaultdict(set)
    for name in os.listdir(_PROC):  # noqa: PTH208 - thousands of them, more than once
        if name.isdecimal():
            with contextlib.suppress(OSError, IndexError, ValueError):
                found[int(_fields(_PROC / name)[_SESSION])].add(int(name))
    return found


def signal_process(pid: int, number: signal.Signals, identity: str) -> None:
    """Signal a process, if it still bears `identity`, and if it is ours to signal."""
    with contextlib.suppress(OSError):
        handle = os.pidfd_open(pid)
        try:
            # Asked after the descriptor was opened: the number may be somebody else's by now.
            if is_process_of(pid, identity):
                signal.pidfd_send_signal(handle, number)
        finally:
            os.close(handle)


def is_running(pid: int) -> bool:
    """Return True if there is a process of that number, whoever's it is; see `is_process_of`."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def process_state(pid: int) -> str:
    """Return the state of a process, as a letter (proc(5), stat); empty when it is gone."""
    return _state(_PROC / str(pid))


def is_at_work(pid: int) -> bool:
    """Return True if a thread of the process runs, waits for a processor or for a disk."""
    return any(_state(thread) in _AT_WORK for thread in (_PROC / str(pid) / "task").glob("*"))


def _state(place: Path) -> str:
    with contextlib.suppress(OSError, IndexError):
        return _fields(place)[0]
    return ""


def _fields(place: Path) -> list[str]:
    """Return the fields of a process after its name, which may hold any character."""
    with open(place / "stat", "rb") as file:  # noqa: PTH123 - a third of read_text's time
        return file.read().rpartition(b")")[2].decode(errors="replace").split()


class ProcessWatch:
    """Calls `ended` whenever a process that it follows has ended, whoever its parent is."""

    def __init__(self, ended: Callable[[], None]) -> None:
        self._ended = ended
        self._descriptors: dict[int, int] = {}
        """Process number -> descriptor that the kernel makes readable at its end; -1 after that."""

    def follow(self, pids: Collection[int]) -> None:
        """Follow exactly these processes from now on; of one that is gone nothing is told."""
        for pid in self._descriptors.keys() - pids:
            self._drop(self._descriptors.pop(pid))
        for pid in pids - self._descriptors.keys():
            self._descriptors[pid] = self._open(pid)

    def close(self) -> None:
        """Follow none."""
        self.follow(frozenset())

    def _open(self, pid: int) -> int:
        # Gone already, or no descriptor is free: whoever looks from time to time sees it too.
        with contextlib.suppress(OSError):
            descriptor = os.pidfd_open(pid)
            asyncio.get_running_loop().add_reader(descriptor, self._tell, pid)
            return descriptor
        return -1

    def _tell(self, pid: int) -> None:
        self._drop(self._descriptors[pid])
        self._descriptors[pid] = -1
        self._ended()

    def _drop(self, descriptor: int) -> None:
        if descriptor >= 0:
            asyncio.get_running_loop().remove_reader(descriptor)
            os.close(descriptor)
