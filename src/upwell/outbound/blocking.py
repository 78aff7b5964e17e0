"""The policy for libraries that connect by themselves, while they work in a thread of ours.

An audit hook of Python's sees every `connect` before it is made, with the address that it is made
to (PEP 578; the table of audit events). It cannot be taken back, judges only within `judged`, and
leaves all other threads alone.
"""

import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from upwell.outbound.policy import ForbiddenAddressError, OutboundPolicy

_CONNECTING = frozenset({"socket.connect", "socket.sendto", "socket.sendmsg"})
_LOOKING_UP = "socket.getaddrinfo"
_MAX_REFUSALS = 8

_here = threading.local()
_lock = threading.Lock()
_installed: list[bool] = []


@dataclass(slots=True)
class JudgedBlock:
    """Connections of one thread, for as long as `judged` holds."""

    policy: OutboundPolicy
    refusals: list[str] = field(default_factory=list)
    """Refused destinations, in words, the first ones."""
    names: set[tuple[str, int]] = field(default_factory=set)
    """Names that the administrator allows, as they were looked up."""

    def look_up(self, host: object, port: object) -> None:
        """Note that a name is being looked up."""
        if isinstance(host, str) and isinstance(port, int) and self.policy.allows_name(host, port):
            self.names.add((host, port))

    def connect(self, place: object) -> None:
        """Judge where a socket is about to be connected; raises ForbiddenAddressError."""
        if not isinstance(place, tuple):
            return  # no network
        host, port = str(place[0]), int(place[1])
        try:
            self.policy.check(host, port)
        except ValueError as error:  # a name, which the system would look up by itself
            raise self._refused(f"refused: {host} is not an address") from error
        except ForbiddenAddressError as error:
            if not self._is_of_allowed_name(host, port):
                raise self._refused(str(error)) from error

    def _is_of_allowed_name(self, address: str, port: int) -> bool:
        return any(
            address == str(found[4][0])
            for name, number in tuple(self.names)
            if number == port
            for found in socket.getaddrinfo(name, number, type=socket.SOCK_STREAM)
        )

    def _refused(self, why: str) -> ForbiddenAddressError:
        if len(self.refusals) < _MAX_REFUSALS:
            self.refusals.append(why)
        return ForbiddenAddressError(why)


@contextmanager
def judged(policy: OutboundPolicy) -> Iterator[JudgedBlock]:
    """Judge every connection that this thread begins in the block."""
    with _lock:
        if not _installed:
            sys.addaudithook(_hook)
            _installed.append(True)
    block = JudgedBlock(policy)
    _here.block = block
    try:
        yield block
    finally:
        _here.block = None


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if event not in _CONNECTING and event != _LOOKING_UP:
        return
    block: JudgedBlock | None = getattr(_here, "block", None)
    if block is None:
        return
    # The policy asks the kernel for a route by a socket of its own, which is not the library's.
    _here.block = None
    try:
        if event == _LOOKING_UP:
            block.look_up(arguments[0], arguments[1])
        else:
            block.connect(arguments[1])
    finally:
        _here.block = block
