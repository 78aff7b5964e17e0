"""Starts that come to nothing: the container runtime is killed half-way, or hangs.

When the kernel kills it, as memory runs out, say, the container's monitor (conmon) reads what the
runtime had to say, from a pipe that the container's first process holds open too; and that waits
for the runtime, for ever. Podman waits for the monitor with the container locked, and every list of
containers waits for the lock.
"""

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from upwell.workload.errors import RuntimeUnavailableError
from upwell.workload.podman.api.client import PodmanApi

_log = logging.getLogger(__name__)

_PROC = Path("/proc")
_WAITS_FOR_DISK = "D"
_LOOK_SECONDS = 5.0
"""A start takes a fraction of a second; between the end of the runtime's creation and its start
of the container there are milliseconds."""
_IDLE_LOOKS = 9
"""After so many in a row that see no work a start that is not answered is given up."""


@dataclass(frozen=True, slots=True)
class _Progress:
    """Progress of a start, as far as its processes show it."""

    unstarted: int = 0
    """The process below a monitor whose runtime has ended; 0 where there is none."""
    work: tuple[int, ...] = ()
    """Processor time, bytes read and written of the monitor and all below it; none: not there."""
    waits_for_disk: bool = False

    def is_work_since(self, before: "_Progress") -> bool:
        """Return True if something was done, or Podman has not come to the monitor yet."""
        return not self.work or self.waits_for_disk or self.work != before.work


async def start(api: PodmanApi, container_id: str) -> None:
    """Start a container; a start that comes to nothing is ended, and may be made anew.

    One that goes on, on a slow disk, say, has the time that Podman's API gives it. Raises
    RuntimeUnavailableError.
    """
    request = asyncio.ensure_future(api.start(container_id))
    seen, idle = _Progress(), 0
    try:
        while idle < _IDLE_LOOKS:
            if (await asyncio.wait([request], timeout=_LOOK_SECONDS))[0]:
                return await request
            before, seen = seen, await asyncio.to_thread(_progress, container_id)
            if seen.unstarted and seen.unstarted == before.unstarted:
                why = "was ended while it created the container: does the kernel's log tell of it?"
                break
            idle = 0 if seen.is_work_since(before) else idle + 1
        else:
            why = f"has done nothing for {_IDLE_LOOKS * _LOOK_SECONDS:g} s of the container's start"
        await asyncio.to_thread(end_unstarted, container_id)
    finally:
        request.cancel()
        await asyncio.gather(request, return_exceptions=True)  # what it says now is of no use
    raise RuntimeUnavailableError(f"the container runtime {why} ({container_id})")


def end_unstarted(container_id: str) -> None:
    """End the monitor of a container that has not begun to run, and all that it waits for.

    To be called where nobody starts it: what a start that came to nothing has left. Blocks shortly.
    """
    for monitor in _monitors(container_id):
        for pid in (*_children(monitor), monitor):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        _log.warning("start of a container is given up", extra={"container": container_id})


def _progress(container_id: str) -> _Progress:
    unstarted, work, states = 0, [], set()
    for monitor in _monitors(container_id):
        children = _children(monitor)
        if len(children) == 1 and _waits_for_start(children[0]):
            unstarted = children[0]
        for pid in (monitor, *_below(monitor)):
            state, *numbers = _work_of(pid)
            states.add(state)
            work += [pid, *map(int, numbers)]
    return _Progress(unstarted, tuple(work), _WAITS_FOR_DISK in states)


def _below(pid: int) -> Iterator[int]:
    for child in _children(pid):
        yield child
        yield from _below(child)


def _work_of(pid: int) -> tuple[str, ...]:
    """Return the state of a process, its processor time, and the bytes it has read and written.

    See proc_pid_stat(5) and proc_pid_io(5).
    """
    with contextlib.suppress(OSError):
        fields = (_PROC / f"{pid}/stat").read_text().rpartition(") ")[2].split()
        transferred = (_PROC / f"{pid}/io").read_text().split()[1:4:2]
        return fields[0], fields[11], fields[12], *transferred
    return ("",)


def _monitors(container_id: str) -> Iterator[int]:
    """Yield the processes that are called as `conmon … -c ID …`."""
    wanted = container_id.encode()
    for place in _PROC.glob("[0-9]*"):
        with contextlib.suppress(OSError):
            program, *words = (place / "cmdline").read_bytes().split(b"\0")
            if program.endswith(b"conmon") and (b"-c", wanted) in pairwise(words):
                yield int(place.name)


def _children(pid: int) -> list[int]:
    with contextlib.suppress(OSError):
        return [int(one) for one in (_PROC / f"{pid}/task/{pid}/children").read_text().split()]
    return []


def _waits_for_start(pid: int) -> bool:
    """Return True if a process waits for the runtime's start: at the end of a pipe of its own."""
    with contextlib.suppress(OSError):
        for descriptor in (_PROC / str(pid) / "fd").iterdir():
            with contextlib.suppress(OSError):
                if descriptor.readlink().name == "exec.fifo":
                    return True
    return False
