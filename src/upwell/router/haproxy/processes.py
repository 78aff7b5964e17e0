"""HAProxy's processes of one installation, as the kernel shows them.

They are found by what they were started with, not by what is on disk: the socket may be gone, the
folder may have been moved or restored from a copy, and a record could be older than they are.
"""

import asyncio
import os
import signal
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from upwell.machine.processes import is_at_work, process_state

_PROC = Path("/proc")
_VARIABLE = "UPWELL_ROUTER"
"""Set in the environment of HAProxy to the installation's identifier."""
_POLL_SECONDS = 0.02
_STOPPED, _ENDED = {"T", "t"}, {"", "Z", "X"}
"""By a signal or a debugger; zombies and less."""


@dataclass(frozen=True, slots=True)
class HaproxyProcess:
    """A master or a worker, also one that drains."""

    pid: int
    stopped: bool
    """By SIGSTOP: it does nothing until it is continued."""
    at_work: bool = False
    """It runs, or waits for a processor or a disk."""


class HaproxyProcesses:
    """Finds and ends the processes that serve, or served, from a configuration file.

    Those of another path are ours if they have the installation's identifier and their file is no
    more: the folder was moved. While it is there they belong to the server of that folder, of which
    this one is a copy.
    """

    def __init__(self, config: Path, installation: str) -> None:
        self._config = config
        self._installation = installation

    @property
    def variables(self) -> Mapping[str, str]:
        """Environment variables to start HAProxy with."""
        return {_VARIABLE: self._installation} if self._installation else {}

    async def find(self) -> Sequence[HaproxyProcess]:
        """Return all that live."""
        return await asyncio.to_thread(lambda: list(self._find()))

    def is_of_this_place(self, pid: int) -> bool:
        """Return True if a process reads the configuration where it is now.

        A socket goes on to answer after its folder was moved; a reload would not find the file.
        """
        with suppress(OSError):
            config = _configuration(_arguments(pid))
            return config is not None and self._is_here(config)
        return False

    async def end(self, processes: Collection[HaproxyProcess], seconds: float = 0) -> None:
        """End them and wait until they are gone; after so many seconds by force."""
        if seconds:
            self.signal(processes, signal.SIGTERM)
            self.signal([one for one in processes if one.stopped], signal.SIGCONT)
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._gone(processes)
        self.signal(processes, signal.SIGKILL)
        await self._gone(processes)

    def signal(self, processes: Collection[HaproxyProcess], number: signal.Signals) -> None:
        """Send a signal to those that are still what they were."""
        for process in processes:
            with suppress(OSError):
                handle = os.pidfd_open(process.pid)
                try:
                    if self._is_ours(process.pid):
                        signal.pidfd_send_signal(handle, number)
                finally:
                    os.close(handle)

    async def _gone(self, processes: Collection[HaproxyProcess]) -> None:
        while True:
            if not any(self._holds_sockets(one.pid) for one in processes):
                return
            await asyncio.sleep(_POLL_SECONDS)

    def _holds_sockets(self, pid: int) -> bool:
        """Return True until the end of a process is complete; its arguments are gone before."""
        try:
            is_another = any(_arguments(pid)) and not self._is_ours(pid)
        except OSError:
            return False
        return not is_another and process_state(pid) not in _ENDED

    def _find(self) -> Iterator[HaproxyProcess]:
        for entry in _PROC.iterdir():
            if entry.name.isdecimal() and self._is_ours(int(entry.name)):
                pid = int(entry.name)
                yield HaproxyProcess(pid, process_state(pid) in _STOPPED, is_at_work(pid))

    def _is_ours(self, pid: int) -> bool:
        """Return True if the process lives and is ours; one that has ended has no arguments."""
        with suppress(OSError):
            config = _configuration(_arguments(pid))
            if config is None:
                return False
            return self._is_here(config) or (not config.exists() and self._has_identifier(pid))
        return False

    def _is_here(self, config: Path) -> bool:
        return config == self._config or _is_same_file(config, self._config)

    def _has_identifier(self, pid: int) -> bool:
        if not self._installation:
            return False
        wanted = f"{_VARIABLE}={self._installation}".encode()
        return wanted in (_PROC / str(pid) / "environ").read_bytes().split(b"\0")


def _arguments(pid: int) -> Sequence[bytes]:
    return (_PROC / str(pid) / "cmdline").read_bytes().split(b"\0")


def _configuration(words: Sequence[bytes]) -> Path | None:
    """Return the file that a master or worker has read; None of other programs."""
    if not Path(os.fsdecode(words[0])).name.startswith("haproxy") or b"-W" not in words:
        return None
    for option, value in pairwise(words):
        if option == b"-f":
            return Path(os.fsdecode(value))
    return None


def _is_same_file(one: Path, other: Path) -> bool:
    with suppress(OSError):
        return one.samefile(other)
    return False
