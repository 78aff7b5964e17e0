"""Addresses that the router is to listen at: whether they are free, and who has them."""

import socket
from collections.abc import Collection
from contextlib import suppress

from upwell.machine.sockets.listeners import listener_at, listening_sockets, sockets_of


def bind_fault(address: str, port: int, own: Collection[int] = ()) -> str:
    """Return why nobody could listen there now; empty where processes of our `own` do.

    Not for the event loop: whoever listens there is looked for among all processes.

    HAProxy alone would not notice: it shares a port with any process of the same user that also
    allows that (SO_REUSEPORT), and each of the two would get half of the connections.
    """
    refusal = _refusal(address, port)
    if not refusal or (own and _is_held_by(own, address, port)):
        return ""
    return refusal + _holder(address, port)


def is_free(address: str, port: int) -> bool:
    """Return True if somebody could listen there now; unlike `bind_fault` it costs nothing."""
    return not _refusal(address, port)


def _refusal(address: str, port: int) -> str:
    """Return why the kernel lets nobody listen there; empty where it does."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except (OSError, OverflowError) as error:
            return getattr(error, "strerror", None) or str(error)
    return ""


def split_address(address: str) -> tuple[str, int]:
    """Return host and port of `host:port`, without the brackets of an IPv6 address."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def _is_held_by(pids: Collection[int], address: str, port: int) -> bool:
    held = listening_sockets(address, port)
    return bool(held) and held <= sockets_of(pids)


def _holder(address: str, port: int) -> str:
    with suppress(ValueError):  # of a name, which the kernel's tables do not have
        if found := listener_at(address, port):
            return f" by {found}"
    return ""
