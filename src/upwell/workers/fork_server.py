"""The fork server as its caller sees it: started when a worker is wanted, renewed, ended when idle.

Python starts, and imports a task, once for many workers; each is a process of its own all the
same. Those of one fork server have the same layout of memory and the same hashes, so it serves a
number of jobs alone, and none after a worker that crashed: nobody tries one layout again and again.
"""

import asyncio
import json
import os
import signal
import socket
import sys
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import IO

from upwell.workers.interface import WorkerFailedError

_ROOT = Path(__file__).parents[1]
BOOTSTRAP = (
    # The package's own __init__ reads its version out of the metadata of all that is installed,
    # which takes as long as the rest of the start.
    "import sys, types\n"
    "package = sys.modules['upwell'] = types.ModuleType('upwell')\n"
    "package.__path__ = [sys.argv[1]]\n"
    "from upwell.workers.forking import main\n"
    "main()\n"
)
_OPTIONS = ("-I", "-S", "-X", "utf8")
_MOST_JOBS = 256
_IDLE_SECONDS = 60.0
_END_SECONDS = 30.0
"""For the end of a worker that is to be killed; what takes longer hangs, or was stopped."""
_NO_CRASH = {signal.SIGKILL, signal.SIGXCPU}


class _Process:
    """The fork server's own process."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._lock = threading.Lock()
        """Guards the process's number, which is another's after the process was waited for."""
        self._is_gone = False
        # By a thread, not by an event loop, which may end before it.
        threading.Thread(target=self._reap, daemon=True).start()

    def kill(self) -> None:
        """Kill it, and so its workers, unless it has ended."""
        with self._lock:
            if not self._is_gone:
                os.kill(self._pid, signal.SIGKILL)

    def _reap(self) -> None:
        os.waitid(os.P_PID, self._pid, os.WEXITED | os.WNOWAIT)
        with self._lock:
            self._is_gone = True
            os.waitpid(self._pid, 0)


class Worker:
    """Worker that runs: what it writes, and how it ends."""

    def __init__(self, process: _Process, line: socket.socket, output: socket.socket) -> None:
        self._process = process
        self._line = line
        self._output = output
        self._code: int | None = None

    async def read(self, size: int) -> bytes:
        """Return the next bytes of its output, `size` at most; none at its end."""
        return await asyncio.get_running_loop().sock_recv(self._output, size)

    async def wait(self) -> int:
        """Return the exit status once it has ended, the negative number of a signal that killed it.

        Raises WorkerFailedError where the fork server was killed.
        """
        if self._code is None:
            told = await asyncio.get_running_loop().sock_recv(self._line, 16)
            if not told:
                raise WorkerFailedError("its worker was killed, with the process that forks them")
            self._code = int(told)
        return self._code

    @property
    def has_crashed(self) -> bool:
        """True if a signal ended it that is none of a limit."""
        return self._code is not None and self._code < 0 and -self._code not in _NO_CRASH

    async def end(self) -> None:
        """Kill it and what it has started, unless it has ended; return after it has.

        A fork server that does not kill it in time is killed itself.
        """
        with self._line, self._output, suppress(OSError, WorkerFailedError):
            self._line.shutdown(socket.SHUT_WR)
            try:
                async with asyncio.timeout(_END_SECONDS):
                    await self.wait()
            except TimeoutError:
                self._process.kill()
                await self.wait()


class ForkServer:
    """A process that forks workers, from the first job on until none has come for a minute."""

    def __init__(self, bootstrap: str = BOOTSTRAP) -> None:
        self._bootstrap = bootstrap
        self._lock = threading.Lock()
        """Guards what follows: event loops of several threads may want workers."""
        self._current: tuple[socket.socket, _Process] | None = None
        """Socket on which the one that runs is asked, and its process."""
        self._asked = 0
        self._running = 0
        self._idle: asyncio.TimerHandle | None = None

    @asynccontextmanager
    async def worker(
        self, task: str, libraries: Sequence[str], source: IO[bytes], settings: object
    ) -> AsyncIterator[Worker]:
        """Start a worker that reads `source`; at the end of the context it has ended too.

        Raises OSError where none can be started.
        """
        worker = self._started(task, libraries, source, settings)
        try:
            yield worker
        finally:
            await asyncio.shield(self._ended(worker))

    def end(self) -> None:
        """Let the fork server end once its last worker has."""
        with self._lock:
            self._leave()

    def _started(
        self, task: str, libraries: Sequence[str], source: IO[bytes], settings: object
    ) -> Worker:
        head = json.dumps({"task": task, "libraries": list(libraries)}).encode()
        with ExitStack() as theirs, ExitStack() as ours:
            (line, line_end), (output, output_end) = socket.socketpair(), socket.socketpair()
            for one in (line, output):
                ours.enter_context(one).settimeout(0)
            described = theirs.enter_context(os.fdopen(os.memfd_create("worker"), "w+b"))
            described.write(json.dumps(settings).encode())
            described.seek(0)
            files = theirs.enter_context(line_end), source, theirs.enter_context(output_end)
            process = self._ask(head, [one.fileno() for one in (*files, described)])
            ours.pop_all()
        return Worker(process, line, output)

    def _ask(self, head: bytes, files: Sequence[int]) -> _Process:
        """Ask for a worker, and return the process that forks it."""
        with self._lock:
            if self._asked >= _MOST_JOBS:
                self._leave()
            control, process = self._current or self._start()
            try:
                socket.send_fds(control, [head], files)
            except ConnectionError:  # it was killed
                self._leave()
                control, process = self._start()
                socket.send_fds(control, [head], files)
            self._asked += 1
            self._running += 1
            if self._idle is not None:
                self._idle.cancel()
            return process

    def _start(self) -> tuple[socket.socket, _Process]:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        nowhere = os.POSIX_SPAWN_OPEN, os.devnull, os.O_WRONLY, 0
        with theirs:
            try:
                pid = os.posix_spawn(
                    sys.executable,
                    (sys.executable, *_OPTIONS, "-c", self._bootstrap, str(_ROOT)),
                    {},
                    file_actions=[
                        (os.POSIX_SPAWN_DUP2, theirs.fileno(), 0),
                        *((nowhere[0], number, *nowhere[1:]) for number in (1, 2)),
                    ],
                    setsid=True,
                )
            except OSError:
                ours.close()
                raise
        ours.settimeout(0)
        self._current, self._asked = (ours, _Process(pid)), 0
        return self._current

    def _leave(self) -> None:
        if self._current is not None:
            self._current[0].close()
            self._current = None

    async def _ended(self, worker: Worker) -> None:
        try:
            await worker.end()
        finally:
            with self._lock:
                self._running -= 1
                if worker.has_crashed:
                    self._leave()
                elif not self._running:
                    loop = asyncio.get_running_loop()
                    self._idle = loop.call_later(_IDLE_SECONDS, self._end_idle)

    def _end_idle(self) -> None:
        with self._lock:
            if not self._running:
                self._leave()
