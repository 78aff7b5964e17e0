"""TCP connections that begin inside an instance's network.

What listens on an instance's loopback address alone (a debugger, an administrator's page) is
reached as well. A socket belongs to the network namespace that its thread was in when it was made,
so a thread that lives for one call enters the namespace; this process stays where it is.
"""

import asyncio
import os
import socket
from concurrent.futures import ThreadPoolExecutor

from upwell.workload.errors import UnreachableError
from upwell.workload.podman.api.slow_readers import PIECE, read_little

_CONNECT_SECONDS = 10.0


async def connect_inside(
    network: str, address: str, port: int
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect to `port` on the loopback of a network namespace (its path).

    Where this process may not enter it, to the instance's address. Raises UnreachableError.
    """
    if not network and not address:
        raise UnreachableError("the instance does not run")
    try:
        async with asyncio.timeout(_CONNECT_SECONDS):
            try:
                connected = await _connect_to_loopback(network, port)
            except (PermissionError, FileNotFoundError):
                connected = await asyncio.open_connection(address, port, limit=PIECE)
    except OSError as error:  # a TimeoutError is one too
        why = os.strerror(error.errno) if error.errno else "no answer"
        raise UnreachableError(f"port {port}: {why}: does the instance listen there?") from error
    read_little(connected[1].transport)
    return connected


async def _connect_to_loopback(
    network: str, port: int
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    loop = asyncio.get_running_loop()
    last = OSError("no address")
    for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        with ThreadPoolExecutor(max_workers=1) as entering:
            made = await loop.run_in_executor(entering, _make_socket, network, family)
        try:
            await loop.sock_connect(made, (address, port))
            return await asyncio.open_connection(sock=made, limit=PIECE)
        except OSError as error:
            made.close()
            last = error if family is socket.AF_INET else last
        except BaseException:
            made.close()
            raise
    raise last


def _make_socket(network: str, family: socket.AddressFamily) -> socket.socket:
    """Return a socket of another network namespace; leaves the calling thread in there."""
    with open(network, "rb") as namespace:  # noqa: PTH123 - a descriptor is what is wanted
        os.setns(namespace.fileno(), os.CLONE_NEWNET)
    made = socket.socket(family, socket.SOCK_STREAM)
    made.setblocking(False)  # noqa: FBT003 - the method's own signature
    return made
