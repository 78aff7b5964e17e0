"""A process that has loaded the command line, and forks for each command that it is asked for.

Its argument says what it loads: `commands` or `server`. Standard input is a socket of whole
messages: each is a JSON `Order` with four descriptors, namely standard input, output and error of
the command, and a socket that is told its process ID and a newline when it starts, and its exit
code when it has ended, both in decimal digits (negative: the signal that ended it, as in
`subprocess`). Whoever closes the other end of that socket ends the command; the end of standard
input ends this process.
"""

import gc
import importlib
import json
import os
import runpy
import selectors
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Self, TypedDict

LONGEST_ORDER_BYTES = 128 * 1024
_DESCRIPTORS = 4
_LOADED = {
    "commands": (
        "upwell.app.client",
        "upwell.cli.access.login",
        "upwell.cli.access.token",
        "upwell.cli.builds.builds",
        "upwell.cli.objects.apply",
        "upwell.cli.objects.get",
    ),
    "server": ("upwell.app.server", "upwell.cli.serve.serve"),
}
"""Modules that most commands load. None of them starts a thread, which a fork would lose."""


class Order(TypedDict):
    """A command: all that a process has besides its descriptors."""

    arguments: Sequence[str]
    environment: dict[str, str]
    folder: str
    leads_session: bool
    """As `start_new_session` of `subprocess`."""


@dataclass(frozen=True)
class _Running:
    pid: int
    process: int
    """A descriptor of the process, which can be read when it has ended."""
    asker: socket.socket

    @classmethod
    def of(cls, pid: int, asker: int) -> Self:
        running = cls(pid, os.pidfd_open(pid), socket.socket(fileno=asker))
        running.tell(f"{pid}\n")
        return running

    def end(self) -> None:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.process, signal.SIGKILL)

    def wait(self) -> None:
        self.tell(str(os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])))

    def tell(self, text: str) -> None:
        with suppress(BrokenPipeError):
            self.asker.sendall(text.encode())

    def close(self) -> None:
        self.asker.close()
        os.close(self.process)


def next_order(orders: socket.socket) -> Order | None:
    """Start commands and tell of their ends; return in the process of each, and at the end."""
    with selectors.DefaultSelector() as selector:
        selector.register(orders, selectors.EVENT_READ)
        while True:
            (key, _), *_ = selector.select()
            match key.data:
                case None:
                    message, descriptors, _, _ = socket.recv_fds(
                        orders, LONGEST_ORDER_BYTES, _DESCRIPTORS, socket.MSG_CMSG_CLOEXEC
                    )
                    if not message:
                        return None
                    if (pid := os.fork()) == 0:
                        _take(descriptors, selector)
                        order: Order = json.loads(message)
                        return order
                    *standard, asker = descriptors
                    for descriptor in standard:
                        os.close(descriptor)
                    running = _Running.of(pid, asker)
                    for told in (running.asker, running.process):
                        selector.register(told, selectors.EVENT_READ, running)
                case _Running() as running if key.fileobj is running.asker:
                    selector.unregister(running.asker)
                    running.end()
                case _Running() as running:
                    selector.unregister(running.process)
                    if running.asker in selector.get_map():
                        selector.unregister(running.asker)
                    running.wait()
                    running.close()


def _take(descriptors: Sequence[int], selector: selectors.BaseSelector) -> None:
    """Have the descriptors of a command, and no other one."""
    for number, descriptor in enumerate(descriptors[:3]):
        os.dup2(descriptor, number)
    for key in list(selector.get_map().values()):
        if isinstance(key.fileobj, socket.socket):
            key.fileobj.close()
        else:
            os.close(key.fd)
    for descriptor in descriptors:
        os.close(descriptor)


def _become(order: Order) -> None:
    """Run the command in this process, which ends as `python -m upwell` does."""
    if order["leads_session"]:
        os.setsid()
    os.chdir(order["folder"])
    os.environ.clear()
    os.environ.update(order["environment"])
    sys.argv[:] = ["upwell", *order["arguments"]]
    runpy.run_module("upwell", run_name="__main__", alter_sys=True)


def main(loaded: str) -> None:
    for module in _LOADED[loaded]:
        importlib.import_module(module)
    gc.collect()
    gc.freeze()  # a look for garbage in a fork would copy all pages
    order = next_order(socket.socket(fileno=os.dup(sys.stdin.fileno())))
    if order is not None:
        _become(order)


if __name__ == "__main__":
    main(sys.argv[1])
