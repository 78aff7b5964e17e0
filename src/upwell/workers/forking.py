"""The fork server's own process: it imports tasks, and forks a worker for each job.

It holds what every worker has, and nothing of any job: no thread, no connection, no variable of the
environment, no byte that a stranger wrote. The caller asks over one socket, standard input, and has
a line to each worker: closed, it kills the worker; at the worker's end it tells the exit status.
"""

import ctypes
import gc
import json
import os
import selectors
import signal
import socket
import sys
from collections.abc import Container
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import NoReturn

from upwell.workers.child import run_job

DESCRIPTORS = 4
"""Of a job: its line, its input, its output, and the file that describes it."""
MAX_HEAD = 4096
_SET_CHILD_SUBREAPER = 36  # prctl(2)
_FAILED = b"1"
_MOST_SIGNALS = 4096


@dataclass(frozen=True, slots=True)
class _Job:
    """A worker that runs."""

    pid: int
    line: socket.socket

    @property
    def has_ended(self) -> bool:
        """True once it is a zombie, which it stays until it is waited for."""
        flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
        return os.waitid(os.P_PID, self.pid, flags) is not None

    def kill(self) -> None:
        """Kill it and its group; it is a zombie at least, so that both are still its own."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)


def main() -> None:
    """Fork workers until the caller is gone or wants no more of them, and the last has ended."""
    os.chdir("/")
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    # What workers have started becomes our child when they end, and ends then too.
    ctypes.CDLL(None).prctl(_SET_CHILD_SUBREAPER, *map(ctypes.c_ulong, (1, 0, 0, 0)))
    _ForkServer(socket.socket(fileno=0)).run()


class _ForkServer:
    """Forks a worker for each job that `control` asks for, and watches them."""

    def __init__(self, control: socket.socket) -> None:
        self._control: socket.socket | None = control
        self._jobs: dict[int, _Job] = {}
        """By process."""
        self._events = selectors.PollSelector()
        self._events.register(control, selectors.EVENT_READ)
        # A signal says that some worker has ended; not every kernel and container has pidfd_open.
        self._ends, wakeup = os.pipe2(os.O_NONBLOCK)
        self._events.register(self._ends, selectors.EVENT_READ)
        signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def run(self) -> None:
        while self._control is not None or self._jobs:
            for key, _ in self._events.select():
                job: _Job | None = key.data
                if key.fd == self._ends:
                    self._end_all()
                elif job is None:
                    self._accept()
                elif job.pid in self._jobs:  # its line was closed at the other end
                    self._events.unregister(job.line)
                    job.kill()

    def _accept(self) -> None:
        control = self._control
        if control is None:
            return
        head, descriptors = _received(control)
        if len(descriptors) != DESCRIPTORS:
            for one in descriptors:
                os.close(one)
            self._events.unregister(control)
            self._control = None
            return
        line, *files = descriptors
        try:
            self._start(head, socket.socket(fileno=line), files)
        finally:
            for one in files:
                os.close(one)

    def _start(self, head: bytes, line: socket.socket, files: list[int]) -> None:
        try:
            asked = json.loads(head)
            _import(asked["task"], asked["libraries"])
            parent = os.getpid()
            pid = os.fork()
        except Exception:  # noqa: BLE001 - a task that cannot be imported is none that others need
            with line, suppress(OSError):
                line.send(_FAILED)
            return
        if pid == 0:
            _become_worker(asked["task"], files, parent)
        self._jobs[pid] = job = _Job(pid, line)
        self._events.register(line, selectors.EVENT_READ, job)

    def _end_all(self) -> None:
        os.read(self._ends, _MOST_SIGNALS)
        for job in [one for one in self._jobs.values() if one.has_ended]:
            self._end(job)

    def _end(self, job: _Job) -> None:
        job.kill()  # what it has left behind in its group
        _, status = os.waitpid(job.pid, 0)
        del self._jobs[job.pid]
        with suppress(KeyError):  # it was killed by the caller
            self._events.unregister(job.line)
        _end_others(self._jobs)
        with job.line, suppress(OSError):
            job.line.send(str(os.waitstatus_to_exitcode(status)).encode())


def _received(control: socket.socket) -> tuple[bytes, list[int]]:
    """Return the next message and its descriptors; neither if the caller has closed its end."""
    try:
        head, descriptors, _, _ = socket.recv_fds(control, MAX_HEAD, DESCRIPTORS)
    except ConnectionError:
        return b"", []
    return head, descriptors


def _import(task: str, libraries: list[str]) -> None:
    """Import a task once for all workers; what lies beside its library is then out of reach."""
    if task in sys.modules:
        return
    path = sys.path.copy()
    sys.path += libraries
    try:
        import_module(task)
    finally:
        sys.path[:] = path
    gc.collect()
    gc.freeze()  # so that no worker's collector writes to all that it shares with the others


def _become_worker(task: str, files: list[int], parent: int) -> NoReturn:
    """Run a job in the process that was forked for it, and end."""
    code = 1
    try:
        os.setsid()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        source, output, described = files
        with open(described, "rb", closefd=False) as file:
            settings = {**json.load(file), "parent": parent}
        os.dup2(source, 0)
        os.dup2(output, 1)
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))
        run_job(task, settings)
        code = 0
    finally:
        os._exit(code)  # not through what the fork server would do at its own end


def _end_others(known: Container[int]) -> None:
    """Kill every child of this process but the workers: what one of those has left behind.

    Whoever was started by one of them becomes a child of this process then, and is killed next.
    """
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    with suppress(OSError):  # a kernel that tells of no children
        while others := [pid for pid in map(int, children.read_text().split()) if pid not in known]:
            for pid in others:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
