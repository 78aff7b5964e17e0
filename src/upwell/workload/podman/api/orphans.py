"""Services of Podman that a killed server has left: they are ended before another is started.

One that was stopped by a signal, or hangs, may hold a lock of Podman's that the next one waits for,
and keeps the file system of the data folder busy. The others would end by themselves.
"""

import contextlib
import logging
import os
import select
import signal
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

_log = logging.getLogger(__name__)

_GRACE_SECONDS = 3.0
_KILL_SECONDS = 5.0


def end_orphans(folder: Path) -> None:
    """End the services whose socket is in `folder`, of which nobody else may make use; blocks."""
    found = dict(_find(folder.absolute()))
    try:
        for number in (signal.SIGTERM, signal.SIGCONT):
            _signal(found.values(), number)
        rest = _wait(found.values(), _GRACE_SECONDS)
        _signal(rest, signal.SIGKILL)
        _wait(rest, _KILL_SECONDS)
    finally:
        for handle in found.values():
            os.close(handle)
    if found:
        _log.info("podman services of an earlier server ended", extra={"pids": sorted(found)})


def _find(folder: Path) -> Iterator[tuple[int, int]]:
    """Yield the process number and a descriptor of each."""
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            handle = os.pidfd_open(int(entry.name))
            try:
                # Asked after the descriptor was opened: the number may be somebody else's by now.
                ours = _serves_in(folder, (entry / "cmdline").read_bytes().split(b"\0"))
            except BaseException:
                os.close(handle)
                raise
            if ours:
                yield int(entry.name), handle
            else:
                os.close(handle)


def _serves_in(folder: Path, words: list[bytes]) -> bool:
    socket = f"unix://{folder}/podman-".encode()
    return b"service" in words and any(word.startswith(socket) for word in words)


def _signal(handles: Iterable[int], number: signal.Signals) -> None:
    for handle in handles:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(handle, number)


def _wait(handles: Iterable[int], seconds: float) -> list[int]:
    """Wait for the end of processes; return those that have not ended."""
    rest, deadline = list(handles), time.monotonic() + seconds
    poll = select.poll()
    for handle in rest:
        poll.register(handle, select.POLLIN)
    while rest and (left := deadline - time.monotonic()) > 0:
        for handle, _ in poll.poll(left * 1000):
            poll.unregister(handle)
            rest.remove(handle)
    return rest
