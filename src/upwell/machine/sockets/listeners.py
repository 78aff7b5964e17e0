"""Listeners of this machine: the processes that have them (proc(5)), and whether they answer."""

import socket
import struct
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

_PROC = Path("/proc")
_LISTEN = "0A"
_MOST_BYTES = 64 * 1024
_TABLES = (("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6))


def listening_sockets(address: str, port: int) -> set[int]:
    """Return the inodes of the sockets that listen at an address, or at all of them."""
    wanted = ip_address(address)
    found = set()
    for table, family in _TABLES:
        with suppress(OSError):
            for line in (_PROC / "net" / table).read_text().splitlines()[1:]:
                fields = line.split()
                bound, _, number = fields[1].partition(":")
                if fields[3] != _LISTEN or int(number, 16) != port:
                    continue
                at = _address(bound, family)
                if at == wanted or at.is_unspecified or wanted.is_unspecified:
                    found.add(int(fields[9]))
    return found


def sockets_of(pids: Collection[int]) -> set[int]:
    """Return the inodes of all sockets that processes have open."""
    return {inode for pid in pids for inode in _sockets(pid)}


def listener_at(address: str, port: int) -> str:
    """Return who listens there, for people: `process 312 (nginx)`; empty if that is not seen.

    The processes of other users are not, unless this one is root's.
    """
    wanted = listening_sockets(address, port)
    for entry in _PROC.iterdir() if wanted else ():
        if entry.name.isdecimal() and not wanted.isdisjoint(_sockets(int(entry.name))):
            with suppress(OSError):
                return f"process {entry.name} ({(entry / 'comm').read_text().strip()})"
    return ""


def _sockets(pid: int) -> Iterator[int]:
    with suppress(OSError):
        for link in (_PROC / str(pid) / "fd").iterdir():
            with suppress(OSError):
                kind, _, inode = str(link.readlink()).partition(":[")
                if kind == "socket":
                    yield int(inode.rstrip("]"))


def _address(text: str, family: socket.AddressFamily) -> IPv4Address | IPv6Address:
    """Return the address of a table, which is made of words in the machine's order of bytes."""
    words = [int(text[at : at + 8], 16) for at in range(0, len(text), 8)]
    return ip_address(socket.inet_ntop(family, struct.pack(f"={len(words)}I", *words)))


def ask_listener(
    path: Path,
    sent: bytes,
    seconds: float,
    *,
    is_all: bool = False,
    clock: Callable[[], float] = time.monotonic,
) -> bytes:
    """Send to a Unix socket, and return what is answered until its end; blocks.

    `is_all`: the listener is told that nothing more comes.

    For questions whether something lives: in a thread, the answer does not wait for the event loop,
    whose own delay would be taken for the other's. Raises OSError, TimeoutError among them.
    """
    deadline = clock() + seconds
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(seconds)
        client.connect(str(path))
        client.sendall(sent)
        if is_all:
            client.shutdown(socket.SHUT_WR)
        found = b""
        while len(found) <= _MOST_BYTES:
            # At the end of the time, what is there already counts: this thread may have been late.
            client.settimeout(max(deadline - clock(), 0))
            try:
                piece = client.recv(_MOST_BYTES)
            except (BlockingIOError, TimeoutError) as error:
                raise TimeoutError(f"no answer in {seconds:g} s") from error
            if not piece:
                break
            found += piece
        return found
