"""Local terminal, passed byte by byte to a command in a container."""

import asyncio
import json
import os
import signal
import sys
import termios
import threading
import tty
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress

_CHUNK = 32 * 1024

type Send = Callable[[bytes], Awaitable[None]]


@contextmanager
def raw_terminal() -> Iterator[None]:
    """Set the terminal to raw mode for the block: keys, Ctrl-C too, are passed as bytes."""
    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)
    tty.setraw(terminal, termios.TCSANOW)  # keeps what was typed already
    try:
        yield
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)


@contextmanager
def sizes(send: Send) -> Iterator[None]:
    """Send the terminal's size, and each change of it, during the block (as JSON)."""
    loop = asyncio.get_running_loop()
    sending: set[asyncio.Future[None]] = set()

    def send_size() -> None:
        with suppress(OSError):
            size = os.get_terminal_size(sys.stdin.fileno())
            document = {"Width": size.columns, "Height": size.lines}
            task = asyncio.ensure_future(send(json.dumps(document).encode()))
            sending.add(task)
            task.add_done_callback(sending.discard)

    send_size()
    loop.add_signal_handler(signal.SIGWINCH, send_size)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGWINCH)


def send_input(send: Send) -> None:
    """Send stdin as it arrives, and an empty piece at its end, from a thread of its own.

    A read of stdin cannot be cancelled: the thread is a daemon that outlives the command.
    """
    loop = asyncio.get_running_loop()

    def pump() -> None:
        with suppress(Exception):  # the connection's own end is what is reported
            while True:
                piece = _read_input()
                asyncio.run_coroutine_threadsafe(_sent(send, piece), loop).result()
                if not piece:
                    return

    threading.Thread(target=pump, name="stdin", daemon=True).start()


def _read_input() -> bytes:
    """Return what comes next of stdin; nothing at its end, or where it is closed."""
    try:
        return os.read(sys.stdin.fileno(), _CHUNK)
    except (AttributeError, OSError):  # sys.stdin is None where a shell has closed it (`<&-`)
        return b""


async def _sent(send: Send, piece: bytes) -> None:
    await send(piece)
