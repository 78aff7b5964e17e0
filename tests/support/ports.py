"""Ports for the servers of tests: given once, and to nobody else.

A port that the system gives (one that was bound as 0, and closed again) may be gone when its server
binds it, or is started again: another test was given the same, or a connection goes out from it.
"""

import atexit
import errno
import itertools
import socket
from collections.abc import Iterator
from functools import cache

FIRST, LAST = 10_000, 29_999
"""Below those that connections go out from (ip_local_port_range), and those of nodes."""
BLOCK = 500
"""Ports of one process: more than are in use at a time."""


class NoFreePortError(Exception):
    """Every port that may be given is in use."""


def free_port() -> int:
    """Return a port of this machine at which nobody listens, another one each time."""
    for port in itertools.islice(_own_ports(), BLOCK):
        if _is_free(port):
            return port
    raise NoFreePortError(f"all {BLOCK} ports of this process are in use")


@cache
def _own_ports() -> Iterator[int]:
    """Ports of a block that is this process's as long as it lives, round and round."""
    for first in range(FIRST, LAST, BLOCK):
        if claim(first):
            return itertools.cycle(range(first, first + BLOCK))
    raise NoFreePortError(f"processes of tests have claimed all ports from {FIRST} to {LAST}")


def claim(first: int) -> bool:
    """Claim the block that begins at a port, unless a process has it that still lives."""
    # Like ports, a name without a file is one of the network's, and free when its owner ends.
    mark = socket.socket(socket.AF_UNIX)
    try:
        mark.bind(f"\0upwell-tests-ports-{first}")
    except OSError as error:
        mark.close()
        if error.errno != errno.EADDRINUSE:
            raise
        return False
    atexit.register(mark.close)
    return True


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: none listens
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True
