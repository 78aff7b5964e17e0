"""Processes of a demo, each with a log, and with a record in the folder if it is long-running.

With the records, a later call stops the processes of a killed demo.
"""

import asyncio
import json
import os
import signal
from asyncio.subprocess import Process
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from upwell.cli.core.errors import CommandError
from upwell.cli.demo.ports import HOST
from upwell.machine.process import start_group
from upwell.machine.sockets.listeners import listener_at, listening_sockets, sockets_of

_TAIL_BYTES = 4096
_TAIL_LINES = 12
_MAX_OUTPUT_BYTES = 16 * 1024 * 1024
_GRACE_SECONDS = 10.0
_POLL_SECONDS = 0.05
_PROC = Path("/proc")


async def run(
    *argv: str | Path, environment: Mapping[str, str] | None = None, seconds: float
) -> str:
    """Run a command to its end and return what it printed; raises CommandError if it failed.

    A command that is cancelled, or takes longer, is ended with all that it started.
    """
    program = str(argv[0])
    try:
        process = await start_group(*map(str, argv), env={**os.environ, **(environment or {})})
    except OSError as error:
        raise CommandError(f"cannot start {program}: {error.strerror}") from error
    try:
        async with asyncio.timeout(seconds):
            output = await _read_all(process, program)
            code = await process.wait()
    except TimeoutError as error:
        raise CommandError(f"{program} took more than {seconds:g} s") from error
    finally:
        if process.returncode is None:
            await asyncio.shield(_end_group(process))
    if code != 0:
        raise CommandError(f"{program} failed with exit code {code}:\n{_tail(output)}")
    return output.decode(errors="replace")


async def _read_all(process: Process, program: str) -> bytes:
    output = bytearray()
    if process.stdout is not None:
        while chunk := await process.stdout.read(64 * 1024):
            output += chunk
            if len(output) > _MAX_OUTPUT_BYTES:
                raise CommandError(f"{program} printed more than {_MAX_OUTPUT_BYTES} bytes")
    return bytes(output)


async def _end_group(process: Process) -> None:
    """Let a command end in good order, then kill what is left of its group, deaf children too."""
    _signal_group(process.pid, signal.SIGTERM)
    with suppress(TimeoutError):
        async with asyncio.timeout(_GRACE_SECONDS):
            # Not communicate(): the pipe may be held by a grandchild.
            await process.wait()
    _signal_group(process.pid, signal.SIGKILL)
    await process.wait()


def _signal_group(group: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(group, number)


@dataclass(frozen=True, slots=True)
class ProcessRecord:
    """Long-running process: its ID, and its start in clock ticks, against reuse of the ID."""

    name: str
    pid: int
    started: int

    @property
    def alive(self) -> bool:
        """True if this process, not another one of its ID, still runs."""
        return started_at(self.pid) == self.started


class ChildProcesses:
    """Long-running processes of a demo; their files lie in its folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running: dict[str, int] = {}

    def start(
        self, name: str, *argv: str | Path, environment: Mapping[str, str] | None = None
    ) -> None:
        """Start a process that outlives the command unless stopped; its log is `logs/<name>.log`.

        Raises CommandError.
        """
        log = self.log(name)
        log.parent.mkdir(exist_ok=True)
        try:
            # Neither asyncio's nor subprocess's: both want to see the end of their children.
            pid = os.posix_spawnp(
                str(argv[0]),
                [str(argument) for argument in argv],
                {**os.environ, **(environment or {})},
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                    (os.POSIX_SPAWN_OPEN, 1, log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600),
                    (os.POSIX_SPAWN_DUP2, 1, 2),
                ],
                setsid=True,
            )
        except OSError as error:
            raise CommandError(f"cannot start {argv[0]}: {error.strerror}") from error
        self._running[name] = pid
        record = self._folder / "children" / name
        record.parent.mkdir(exist_ok=True)
        record.write_text(json.dumps({"pid": pid, "started": started_at(pid) or 0}))

    def log(self, name: str) -> Path:
        """Return the path of a process's log."""
        return self._folder / "logs" / f"{name}.log"

    def check(self) -> None:
        """Raise CommandError with the end of its log if a process has ended."""
        for name, pid in self._running.items():
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                del self._running[name]
                code, why = os.waitstatus_to_exitcode(status), _tail(self.log(name).read_bytes())
                raise CommandError(f"{name} ended with exit code {code}:\n{why}")

    async def until_listening(self, name: str, port: int, seconds: float = 20.0) -> None:
        """Wait until a process accepts connections.

        Raises CommandError, also where another process does: two demos that start together take
        the same ports.
        """
        try:
            async with asyncio.timeout(seconds):
                while not await _accepts(port):
                    self.check()
                    await asyncio.sleep(_POLL_SECONDS)
        except TimeoutError as error:
            why = _tail(self.log(name).read_bytes())
            message = f"{name} does not listen on port {port} after {seconds:g} s:\n{why}"
            raise CommandError(message) from error
        if other := await asyncio.to_thread(_other_listener, port, self._running[name]):
            raise CommandError(
                f"{name} cannot listen on port {port}: {other} does;"
                " start the demo again, it takes a port that is free"
            )


async def stop_recorded(folder: Path) -> None:
    """Stop all processes with a record in a demo's folder, the last started first."""
    for record in sorted(records(folder), key=lambda each: -each.started):
        for number in (signal.SIGTERM, signal.SIGKILL):
            if not record.alive:
                break
            _signal_group(record.pid, number)
            with suppress(TimeoutError):
                async with asyncio.timeout(_GRACE_SECONDS):
                    while record.alive:  # noqa: ASYNC110 - no event tells of a process not ours
                        await asyncio.sleep(_POLL_SECONDS)
        (folder / "children" / record.name).unlink(missing_ok=True)


def records(folder: Path) -> list[ProcessRecord]:
    """Return the processes that were started for the demo in this folder."""
    found = []
    for path in (folder / "children").glob("*"):
        with suppress(OSError, ValueError, KeyError):  # cut short while it was written
            document = json.loads(path.read_text())
            found.append(ProcessRecord(path.name, int(document["pid"]), int(document["started"])))
    return found


def started_at(pid: int) -> int | None:
    """Return the start of a process in clock ticks since boot; None if it has ended."""
    try:
        stat = (_PROC / str(pid) / "stat").read_text()
    except OSError:
        return None
    # The second field, the program's name in brackets, may hold anything (proc_pid_stat(5)).
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else int(fields[19])


def _other_listener(port: int, pid: int) -> str:
    """Return who listens on a port, for people; empty if the process `pid` itself does."""
    listening = listening_sockets(HOST, port)
    if not listening or not listening.isdisjoint(sockets_of([pid])):
        return ""
    return listener_at(HOST, port) or "another process"


async def _accepts(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(HOST, port)
    except OSError:
        return False
    writer.close()
    return True


def _tail(output: bytes) -> str:
    lines = output[-_TAIL_BYTES:].decode(errors="replace").strip().splitlines()[-_TAIL_LINES:]
    return "\n".join(f"  {line}" for line in lines) or "  (no output)"
