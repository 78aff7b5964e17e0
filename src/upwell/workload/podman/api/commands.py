"""Commands in containers (Podman's exec sessions), each of which ends with its caller.

A command is a child of conmon: it outlives Podman's service, this process, and whoever reads what
it writes. So each has a file while it is wanted, made before it starts: what has one and no caller
is what a killed server left, or what could not be ended, and is ended as soon as Podman answers.
What ended by itself may leave processes behind, as on Kubernetes; what is ended leaves none of its
session's.
"""

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

from upwell.machine.backoff import Backoff
from upwell.machine.clock import until_tick
from upwell.machine.processes import is_process_of, sessions, signal_process
from upwell.workload.errors import RuntimeUnavailableError
from upwell.workload.podman.api.client import PodmanApi
from upwell.workload.podman.api.connection import PodmanNotFoundError, PodmanRefusedError
from upwell.workload.podman.shared_calls import SharedCall

_log = logging.getLogger(__name__)

_PAUSES = Backoff(first=1, longest=60)
_LOOK_SECONDS = 2.0
_POLL_SECONDS = 0.05
_GRACE_SECONDS = 3.0
"""From being asked to end until there is no asking."""
_KILL_SECONDS = 5.0
"""For processes that begin others while they are killed; then it is tried again later."""
_LEAVE_SECONDS = 10.0
"""For commands that are being ended when this process ends; the next one ends what is left."""
_ASKED = (signal.SIGHUP, signal.SIGTERM, signal.SIGCONT)


class ContainerCommands:
    """Runs commands in containers, and ends what nobody waits for any more."""

    def __init__(self, api: PodmanApi, folder: Path) -> None:
        self._api = api
        self._folder = folder
        self._wanted: dict[str, int] = {}
        """Session -> start of the service that it began with."""
        self._unwanted: set[str] = set()
        """Sessions that could not be ended yet."""
        self._look = SharedCall(partial(asyncio.to_thread, sessions))
        """Looks at all processes of the machine, once for all whose ends are waited for."""
        self._wake = asyncio.Event()
        self._leaving: set[asyncio.Task[None]] = set()
        """Ends of commands, which go on when whoever waits for them is cancelled."""

    async def close(self) -> None:
        """Wait for the commands that are being ended, for a while: then their files tell of them.

        To be called before what they need is closed.
        """
        if not self._leaving:
            return
        _, unfinished = await asyncio.wait(self._leaving, timeout=_LEAVE_SECONDS)
        for task in unfinished:
            task.cancel()
        if unfinished:
            await asyncio.wait(unfinished)

    async def execute(self, container: str, command: tuple[str, ...]) -> tuple[int, bytes]:
        """Run a command; returns its exit code and the start of its output."""
        body = {"Cmd": list(command), "AttachStdout": True, "AttachStderr": True}
        async with self.session(container, body) as session:
            return await self._api.run_session(session)

    @asynccontextmanager
    async def session(self, container: str, body: Mapping[str, Any]) -> AsyncIterator[str]:
        """Prepare a command for the block, which may start it; leaving the block ends it."""
        session = await self._api.prepare(container, body)
        self._wanted[session] = self._api.service_starts
        with contextlib.suppress(OSError):  # a full disk is no reason to fail a probe
            self._folder.mkdir(mode=0o700, exist_ok=True)
            self._note(session).touch()
        try:
            yield session
        finally:
            await self._to_its_end(self._leave(session))

    async def stop(self, session: str) -> None:
        """End a session's command, as far as that can be done now, while its output is held.

        To be called before its streams are closed: from then on conmon drops what it writes, and
        one that writes without end takes a processor until it is ended.
        """
        with contextlib.suppress(RuntimeUnavailableError, PodmanNotFoundError):
            await self._to_its_end(self._end_command_of(session))

    async def _to_its_end(self, work: Coroutine[Any, Any, None]) -> None:
        """Wait for work that goes on to its end though the caller is cancelled."""
        task = asyncio.ensure_future(work)
        self._leaving.add(task)
        task.add_done_callback(self._has_left)
        await asyncio.shield(task)

    def _has_left(self, task: asyncio.Task[None]) -> None:
        self._leaving.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.debug("command not ended", extra={"why": str(error)})

    async def run(self) -> None:
        """End what an earlier server left, and whatever could not be ended, until cancelled."""
        self._unwanted |= await asyncio.to_thread(self._noted)
        failures = 0
        while True:
            self._wake.clear()
            self._unwanted |= self._cut_off()
            failures = 0 if await self._end_all() else failures + 1
            pause = _PAUSES.delay(failures) if failures else until_tick(_LOOK_SECONDS)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._wake.wait()

    def _cut_off(self) -> set[str]:
        """Return the sessions whose output went with an earlier service.

        conmon drops what such a command writes, so that it runs on unhindered; its caller may wait
        for a client who reads nothing, and not see that.
        """
        starts = self._api.service_starts
        return {session for session, begun in self._wanted.items() if begun != starts}

    async def _end_all(self) -> bool:
        for session in sorted(self._unwanted):
            try:
                await self._end(session)
            except RuntimeUnavailableError as error:
                count = len(self._unwanted)
                _log.warning("commands not ended", extra={"count": count, "why": str(error)})
                return False
        return True

    async def _leave(self, session: str) -> None:
        self._unwanted.add(session)
        self._wanted.pop(session, None)
        try:
            await self._end(session)
        except RuntimeUnavailableError:
            self._wake.set()

    async def _end(self, session: str) -> None:
        """End a session's command, if it runs, and forget it; what fails stays in `_unwanted`."""
        with contextlib.suppress(PodmanNotFoundError):
            await self._end_command(session)
        self._unwanted.discard(session)
        with contextlib.suppress(OSError):
            self._note(session).unlink()

    async def _end_command(self, session: str) -> None:
        """End a session's command with all that it has begun, if it runs, and forget the session.

        Raises RuntimeUnavailableError when that cannot be done now, or PodmanNotFoundError.
        """
        try:
            await self._api.remove_session(session)
        except PodmanRefusedError:  # it runs
            await self._end_running(session)

    async def _end_running(self, session: str) -> None:
        await self._end_command_of(session)
        await self._api.remove_session(session, by_force=True)

    async def _end_command_of(self, session: str) -> None:
        state = await self._api.session_state(session)
        if state["Running"]:
            await _end_processes(self._look, int(state["Pid"]), str(state["ContainerID"]))

    def _note(self, session: str) -> Path:
        return self._folder / session.rpartition("/")[2]

    def _noted(self) -> set[str]:
        try:
            noted = {f"/exec/{name}" for name in os.listdir(self._folder)}  # noqa: PTH208 - closed at once
        except OSError:
            return set()
        return noted - self._wanted.keys()


type _Look = Callable[[], Awaitable[Mapping[int, set[int]]]]


async def _end_processes(look: _Look, leader: int, container: str) -> None:
    """End the processes of a command's session: asked first, then by force."""
    asked: set[int] = set()
    waited, pause = 0.0, _POLL_SECONDS
    while waited < _GRACE_SECONDS + _KILL_SECONDS:
        there = (await look()).get(leader, set())
        # In a thread: a command may have begun thousands.
        found = await asyncio.to_thread(_bearers, there, container)
        if not found:
            return
        by_force = waited >= _GRACE_SECONDS
        for pid in found if by_force else found - asked:
            for number in (signal.SIGKILL,) if by_force else _ASKED:
                signal_process(pid, number, container)
        asked |= found
        await asyncio.sleep(pause)
        # To look at all processes of the machine takes a while: ever more rarely.
        waited, pause = waited + pause, _POLL_SECONDS if by_force else 2 * pause


def _bearers(pids: set[int], container: str) -> set[int]:
    return {pid for pid in pids if is_process_of(pid, container)}
