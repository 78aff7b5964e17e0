"""Folders for a real HAProxy, which outlives whoever has started it: a failed test as well."""

import os
import select
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

_END_SECONDS = 30


@contextmanager
def haproxy_folder() -> Iterator[Path]:
    """Yield a new folder; at the end it goes, and what still runs with a file of it is killed.

    Skips the test where there is no HAProxy.
    """
    if shutil.which("haproxy") is None:
        pytest.skip("haproxy is missing: apt install haproxy")
    # Not below pytest's folder: a Unix socket's path may have 107 characters only.
    path = Path(tempfile.mkdtemp(prefix="upwell-haproxy-"))
    try:
        yield path
    finally:
        while pids := running_from(path):  # a master may have started another worker meanwhile
            for pid in pids:
                _kill(pid)
        shutil.rmtree(path)


def running_from(folder: Path) -> list[int]:
    """Return the processes whose command lines name something in the folder."""
    beginning = f"{folder}/".encode()
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended
            words = (entry / "cmdline").read_bytes().split(b"\0")
            if any(word.startswith(beginning) for word in words):
                found.append(int(entry.name))
    return found


def _kill(pid: int) -> None:
    """End a process by force, and wait until it has ended."""
    with suppress(ProcessLookupError):
        handle = os.pidfd_open(pid)
        try:
            signal.pidfd_send_signal(handle, signal.SIGKILL)
            assert select.select([handle], [], [], _END_SECONDS)[0], f"process {pid} has not ended"
        finally:
            os.close(handle)
