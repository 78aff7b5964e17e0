"""Runs child processes such that killing one kills everything that it started.

On Linux with the right to do so, each command is process 1 of a PID namespace: when it, or the
whole of Upwell, is killed, the kernel kills all that is inside, containers included. Elsewhere the
process group and all descendants are killed one by one.
"""

import asyncio
import os
import signal
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

type LogSink = Callable[[bytes], None]
"""Takes the next piece of a command's output; never blocks, never raises."""

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Search path of children, whatever this process was started with."""

OWNER_VARIABLE = "UPWELL_BUILDER"
"""Set in the environment of every child, so that a later process finds what a killed one left."""

_NAMESPACE = (
    *("setpriv", "--pdeathsig", "KILL", "--"),
    *("unshare", "--pid", "--fork", "--kill-child=KILL", "--mount-proc", "--"),
)
NOT_FOUND, CANNOT_RUN, TIMED_OUT = 127, 126, 124
"""Exit codes, as a shell and timeout(1) have them."""
_CHUNK = 64 * 1024
_TAIL_BYTES = 16 * 1024
_DRAIN_SECONDS = 5.0
_PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class ChildCommand:
    """A program, its whole environment and its working folder. Arguments hold no secret."""

    argv: tuple[str, ...]
    environment: Mapping[str, str] = field(repr=False)
    folder: Path
    network: int | None = None
    """Descriptor of the network namespace that it runs in; None: the machine's."""


@dataclass(frozen=True, slots=True)
class ProcessResult:
    """Result of a command."""

    code: int
    tail: str
    """The end of what it printed, for people."""
    output: str = ""
    """Its whole standard output, if that was captured."""

    @property
    def last_line(self) -> str:
        """The last line that says something, for an error message."""
        lines = [line.strip() for line in self.tail.splitlines() if line.strip()]
        return lines[-1] if lines else f"exit status {self.code}"


class OutputTooLargeError(Exception):
    """A command printed more than its caller allowed."""


class Launcher:
    """Starts commands on behalf of `owner`, an identifier of the folder that they work in."""

    def __init__(self, owner: str) -> None:
        self._owner = owner
        self._prefix: tuple[str, ...] | None = None

    async def run(self, command: ChildCommand, log: LogSink) -> ProcessResult:
        """Run `command`, passing its merged output on; cancelling kills all that it started."""
        tail = b""
        # One pipe for both streams: reading two in turn deadlocks when the other fills.
        process = await self._start(command, errors=STDOUT)
        try:
            while chunk := await _pipe(process.stdout).read(_CHUNK):
                log(chunk)
                tail = (tail + chunk)[-_TAIL_BYTES:]
            code = await process.wait()
        finally:
            if process.returncode is None:
                await asyncio.shield(_kill(process))
        return ProcessResult(code, tail.decode(errors="replace"))

    async def capture(self, command: ChildCommand, limit: int) -> ProcessResult:
        """Run `command` and return its whole standard output of at most `limit` bytes.

        Raises OutputTooLargeError.
        """
        process = await self._start(command, errors=PIPE)
        try:
            async with asyncio.TaskGroup() as group:
                output = group.create_task(_read(_pipe(process.stdout), limit))
                errors = group.create_task(_read(_pipe(process.stderr), limit))
            code = await process.wait()
        except* OutputTooLargeError as group:
            raise OutputTooLargeError(f"{command.argv[0]} printed over {limit} bytes") from group
        finally:
            if process.returncode is None:
                await asyncio.shield(_kill(process))
        return ProcessResult(code, errors.result()[-_TAIL_BYTES:], output.result())

    def kill_leftovers(self) -> None:
        """Kill every process that an earlier launcher of the same owner left running."""
        marker = f"{OWNER_VARIABLE}={self._owner}".encode()
        for entry in _PROC.iterdir():
            if entry.name.isdecimal() and int(entry.name) != os.getpid():
                with suppress(OSError):
                    if marker in (entry / "environ").read_bytes().split(b"\0"):
                        _kill_tree(int(entry.name))

    async def _start(self, command: ChildCommand, *, errors: int) -> Process:
        if self._prefix is None:
            self._prefix = await _supported_prefix(command)
        argv = (*_entering(command.network), *self._prefix, *command.argv)
        environment = {**command.environment, OWNER_VARIABLE: self._owner}
        return await start_group(*argv, errors=errors, folder=command.folder, env=environment)


async def start_group(
    *argv: str,
    stdin: int = DEVNULL,
    errors: int = STDOUT,
    folder: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> Process:
    """Start a program in a process group of its own, its output in a pipe; raises OSError.

    Cancelled while the program starts, it leaves nothing behind: asyncio itself would kill the
    program alone, and what that had started by then would stay.
    """
    starting = asyncio.ensure_future(
        asyncio.create_subprocess_exec(
            *argv,
            stdin=stdin,
            stdout=PIPE,
            stderr=errors,
            cwd=folder,
            env=env,
            start_new_session=True,
        )
    )
    try:
        return await asyncio.shield(starting)
    except asyncio.CancelledError:
        await asyncio.shield(_kill_started(starting))
        raise


async def run_command(
    *argv: str,
    seconds: float = 10.0,
    variables: Mapping[str, str] | None = None,
    whole: bool = False,
) -> ProcessResult:
    """Run a short command of this machine in our own environment, with `variables` added.

    With `whole`, all that it printed is the result's output.

    One that is missing (127), cannot be started (126) or takes longer than `seconds` (124) has a
    result too.
    """
    try:
        process = await start_group(*argv, env={**os.environ, **(variables or {})})
    except OSError as error:  # too many open files, say, when it is there
        code = NOT_FOUND if isinstance(error, FileNotFoundError) else CANNOT_RUN
        return ProcessResult(code, f"{argv[0]}: {error.strerror}")
    try:
        async with asyncio.timeout(seconds):
            output, _ = await process.communicate()
        tail = output[-_TAIL_BYTES:].decode(errors="replace")
        text = output.decode(errors="replace") if whole else ""
        return ProcessResult(process.returncode or 0, tail, text)
    except TimeoutError:
        return ProcessResult(TIMED_OUT, f"{argv[0]} took more than {seconds:g} s")
    finally:
        if process.returncode is None:
            await asyncio.shield(_kill(process))


def _entering(network: int | None) -> tuple[str, ...]:
    if network is None:
        return ()
    return ("nsenter", f"--net=/proc/{os.getpid()}/fd/{network}", "--")


async def _supported_prefix(command: ChildCommand) -> tuple[str, ...]:
    """Return the namespace prefix if this machine lets us use it, else nothing."""
    try:
        probe = await asyncio.create_subprocess_exec(
            *_NAMESPACE,
            "true",
            stdin=DEVNULL,
            stdout=DEVNULL,
            stderr=DEVNULL,
            env=dict(command.environment),
        )
    except FileNotFoundError:
        return ()
    return _NAMESPACE if await probe.wait() == 0 else ()


def _pipe(stream: asyncio.StreamReader | None) -> asyncio.StreamReader:
    if stream is None:
        raise RuntimeError("the process was started without this pipe")
    return stream


async def _read(stream: asyncio.StreamReader, limit: int) -> str:
    content = bytearray()
    while chunk := await stream.read(_CHUNK):
        content += chunk
        if len(content) > limit:
            raise OutputTooLargeError
    return content.decode(errors="replace")


async def _kill_started(starting: asyncio.Future[Process]) -> None:
    with suppress(OSError):
        await _kill(await starting)


async def _kill(process: Process) -> None:
    """Kill the tree and wait until nothing of it holds the output pipes any more."""
    _kill_tree(process.pid)
    # What is full is read on: asyncio does not notice the end of a process whose pipe is paused.
    async with asyncio.TaskGroup() as group:
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                group.create_task(_drain(stream))
        await process.wait()


async def _drain(stream: asyncio.StreamReader) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(_DRAIN_SECONDS):
            while await stream.read(_CHUNK):
                pass


def _kill_tree(pid: int) -> None:
    for member in [pid, *_descendants(pid)]:
        with suppress(ProcessLookupError):
            os.kill(member, signal.SIGKILL)
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def _descendants(pid: int) -> Iterator[int]:
    for children in (_PROC / str(pid) / "task").glob("*/children"):
        with suppress(OSError):
            for child in map(int, children.read_text().split()):
                yield child
                yield from _descendants(child)
