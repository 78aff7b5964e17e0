"""Commands in processes of their own for the price of a fork: Python and imports are there."""

import atexit
import io
import json
import os
import select
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

from tests.support.cli.command_parent import LONGEST_ORDER_BYTES, Order

_ROOT = Path(__file__).parents[3]
_PIECE_BYTES = 64 * 1024
_END_SECONDS = 60
_PARENT_HAS_ENDED = "the process that forks has ended; its standard error says why"
_INTERPRETER = ("PATH", "PYTHON", "LANG", "LC_", "LD_")
"""Variables of the interpreter; those of one test must not stay with all others."""


class _Parent:
    """The process that forks, started with the first command and ended with this process."""

    def __init__(self, loaded: str) -> None:
        self._loaded = loaded
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._orders: socket.socket | None = None

    def send(self, order: Order, descriptors: list[int]) -> None:
        message = json.dumps(order).encode()
        if len(message) > LONGEST_ORDER_BYTES:
            raise ValueError(f"{len(message)} bytes of arguments and environment are too many")
        with self._lock:
            if self._process is None or self._orders is None or self._process.poll() is not None:
                self._process, self._orders = self._start()
            socket.send_fds(self._orders, [message], descriptors)

    def _start(self) -> tuple[subprocess.Popen[bytes], socket.socket]:
        environment = {k: v for k, v in os.environ.items() if k.startswith(_INTERPRETER)}
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.cli.command_parent", self._loaded],
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),  # like a pipe in that it cannot be sought
                cwd=_ROOT,
                env=environment,
                start_new_session=True,  # Ctrl-C ends its commands by their askers
            )
        atexit.register(_end, process, ours)
        return process, ours


def _end(process: subprocess.Popen[bytes], orders: socket.socket) -> None:
    orders.close()
    process.wait(_END_SECONDS)


_COMMANDS, _SERVERS = _Parent("commands"), _Parent("server")


def fork_command(order: Order, descriptors: list[int]) -> None:
    """Start a command with these descriptors: see `command_parent`."""
    _COMMANDS.send(order, descriptors)


def run_upwell(
    *arguments: str,
    text: str = "",
    seconds: float,
    folder: Path,
    environment: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run the command line in a folder, with the environment of this process or another one.

    Raises `subprocess.TimeoutExpired` after so many seconds, when the command is killed. What
    /proc says of its command line and environment is of the process that forked it.
    """
    order = Order(
        arguments=arguments,
        environment=dict(os.environ if environment is None else environment),
        folder=str(folder),
        leads_session=False,
    )
    with ExitStack() as stack:
        stdin, given = _pipe(stack)
        out, stdout = _pipe(stack)
        err, stderr = _pipe(stack)
        told, asker = (stack.enter_context(one) for one in socket.socketpair())
        theirs = (stdin, stdout, stderr, asker)
        parent = _SERVERS if arguments[0] == "serve" else _COMMANDS
        parent.send(order, [one.fileno() for one in theirs])
        for one in theirs:
            one.close()
        done = _communicate(given, text.encode(), [out, err, told], seconds)
    if done is None:
        raise subprocess.TimeoutExpired(["upwell", *arguments], seconds)
    _, _, code = done[2].decode().partition("\n")
    assert code, _PARENT_HAS_ENDED
    return subprocess.CompletedProcess(
        ["upwell", *arguments], int(code), _text(done[0]), _text(done[1])
    )


class ServerProcess:
    """A server that another process has forked, with what is used of `subprocess.Popen`."""

    def __init__(self, told: socket.socket) -> None:
        self._told = told
        self._code: int | None = None
        self.pid = int(_line(told))

    def poll(self) -> int | None:
        """Return its exit code; None while it runs."""
        with suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self._code

    def wait(self, seconds: float | None = None) -> int:
        """Return its exit code; raises `subprocess.TimeoutExpired` after so many seconds."""
        if self._code is None:
            if not select.select([self._told], [], [], seconds)[0]:
                raise subprocess.TimeoutExpired(["upwell", "serve"], seconds or 0)
            code = self._told.recv(_PIECE_BYTES).decode()
            assert code, _PARENT_HAS_ENDED
            self._told.close()
            self._code = int(code)
        return self._code

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill it, unless it has ended."""
        self.send_signal(signal.SIGKILL)


def _line(told: socket.socket) -> bytes:
    line = b""
    while not line.endswith(b"\n"):
        letter = told.recv(1)
        assert letter, _PARENT_HAS_ENDED
        line += letter
    return line


def start_upwell(
    *arguments: str, output: io.BufferedWriter, folder: Path, environment: Mapping[str, str]
) -> ServerProcess:
    """Start the command line as a server in a session of its own, and wait for nothing.

    What /proc says of its command line and environment is of the process that forked it.
    """
    order = Order(
        arguments=arguments,
        environment=dict(environment),
        folder=str(folder),
        leads_session=True,
    )
    told, asker = socket.socketpair()
    with asker, Path(os.devnull).open("rb") as nothing:
        written = output.fileno()
        _SERVERS.send(order, [nothing.fileno(), written, written, asker.fileno()])
    return ServerProcess(told)


def _communicate(
    given: io.FileIO, text: bytes, read: Sequence[io.FileIO | socket.socket], seconds: float
) -> list[bytes] | None:
    """Write and read all of them to their ends at the same time; nothing when it takes longer."""
    deadline = time.monotonic() + seconds
    found: dict[int, bytearray] = {one.fileno(): bytearray() for one in read}
    numbers = list(found)
    with selectors.DefaultSelector() as selector:
        for number in numbers:
            selector.register(number, selectors.EVENT_READ)
        os.set_blocking(given.fileno(), False)
        selector.register(given, selectors.EVENT_WRITE)
        while waited := selector.get_map():
            ready = selector.select(max(deadline - time.monotonic(), 0))
            if not ready and waited:
                return None
            for key, _ in ready:
                if key.fileobj is given:
                    text = _written(given, text)
                    if not text:
                        selector.unregister(given)
                        given.close()
                elif piece := os.read(key.fd, _PIECE_BYTES):
                    found[key.fd] += piece
                else:
                    selector.unregister(key.fd)
    return [bytes(found[number]) for number in numbers]


def _written(given: io.FileIO, text: bytes) -> bytes:
    """Write some, and return the rest; there is none for who reads no more."""
    try:
        return text[os.write(given.fileno(), text[:_PIECE_BYTES]) :] if text else text
    except BlockingIOError:
        return text
    except BrokenPipeError:
        return b""


def _pipe(stack: ExitStack) -> tuple[io.FileIO, io.FileIO]:
    read, write = os.pipe()
    return stack.enter_context(io.FileIO(read, "rb")), stack.enter_context(io.FileIO(write, "wb"))


def _text(output: bytes) -> str:
    """Return the text that `subprocess` makes of it."""
    return output.decode().replace("\r\n", "\n").replace("\r", "\n")
