"""A program `upwell` for shells and others that start commands by name, at the price of a fork.

It is a script that gives its descriptors to the process that has started it, which has a command
forked (`command_process`), and that then ends as the command has ended.
"""

import json
import os
import socket
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.support.cli.command_parent import LONGEST_ORDER_BYTES, Order
from tests.support.cli.command_process import fork_command

_DESCRIPTORS = 4
_SCRIPT = """\
#!{python} -IS
import json, os, signal, socket, sys

order = {{"arguments": sys.argv[1:], "environment": dict(os.environ), "folder": os.getcwd()}}
told, asker = socket.socketpair()
with asker, socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as server:
    server.connect({place!r})
    socket.send_fds(server, [json.dumps(order).encode()], [0, 1, 2, asker.fileno()])
lines = told.makefile("r")
pid = int(lines.readline())
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, lambda number, _: os.kill(pid, number))
code = int(lines.read())
if code < 0:
    signal.signal(-code, signal.SIG_DFL)
    os.kill(os.getpid(), -code)
sys.exit(code)
"""


@contextmanager
def upwell_program(folder: Path, *options: str) -> Iterator[Path]:
    """Put a program `upwell` into the folder, which gives these options before its own.

    The folder's path is that of a socket, too: 100 bytes at the most.
    """
    folder.mkdir(parents=True, exist_ok=True)
    place = folder / ".orders"
    place.unlink(missing_ok=True)
    program = folder / "upwell"
    program.write_text(_SCRIPT.format(python=sys.executable, place=str(place)))
    program.chmod(0o755)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(place))
        listener.listen()
        thread = threading.Thread(target=_serve, args=(listener, options))
        thread.start()
        try:
            yield folder
        finally:
            listener.shutdown(socket.SHUT_RDWR)  # ends `accept`
            thread.join()


def _serve(listener: socket.socket, options: Sequence[str]) -> None:
    with suppress(OSError):
        while True:
            asker, _ = listener.accept()
            with asker:
                message, descriptors, _, _ = socket.recv_fds(
                    asker, LONGEST_ORDER_BYTES, _DESCRIPTORS
                )
            asked = json.loads(message)
            order = Order(
                arguments=[*options, *asked["arguments"]],
                environment=asked["environment"],
                folder=asked["folder"],
                leads_session=False,
            )
            try:
                fork_command(order, descriptors)
            finally:
                for descriptor in descriptors:
                    os.close(descriptor)
