"""The kernel's answer to where packets for an address go (rtnetlink(7), RTM_GETROUTE).

Asked anew each time, in some microseconds: an interface that came a moment ago counts, and so do
addresses that no interface has, as those of Services (routes of type local).
"""

import errno
import os
import socket
import struct
from dataclasses import dataclass

from upwell.outbound.addresses import IpAddress

_HEAD = struct.Struct("=IHHII")
_ROUTE = struct.Struct("=BBBBBBBBI")
_ATTRIBUTE = struct.Struct("=HH")
_ERROR = struct.Struct("=i")
_GET_ROUTE, _NEW_ROUTE, _FAILED = 26, 24, 2
_REQUEST = 1
_DESTINATION, _INTERFACE = 1, 4
_UNICAST = 1
_UNREACHABLE = {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EACCES}
"""Of routes that are missing, unreachable or prohibited: no packet gets there.

EINVAL is not among them. It says that the route is a black hole, or that the question was wrong.
"""
_ANSWER_BYTES = 8192


@dataclass(frozen=True, slots=True)
class NetworkRoute:
    """The way of packets."""

    local: bool = False
    """True if they never leave this machine, or are no unicast."""
    interface: str = ""
    """The interface that they leave by; empty if they get nowhere."""


def route_to(address: IpAddress) -> NetworkRoute:
    """Return the route of an address; raises OSError when the kernel does not tell."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6  # noqa: PLR2004
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0) as asked:
        asked.bind((0, 0))
        asked.sendto(_question(family, address.packed), (0, 0))
        answer = asked.recv(_ANSWER_BYTES, socket.MSG_DONTWAIT)  # it is there when sendto returns
    return _route(answer)


def _question(family: int, packed: bytes) -> bytes:
    route = _ROUTE.pack(family, len(packed) * 8, 0, 0, 0, 0, 0, 0, 0)
    attribute = _ATTRIBUTE.pack(_ATTRIBUTE.size + len(packed), _DESTINATION) + packed
    length = _HEAD.size + len(route) + len(attribute)
    return _HEAD.pack(length, _GET_ROUTE, _REQUEST, 1, 0) + route + attribute


def _route(answer: bytes) -> NetworkRoute:
    length, kind, *_ = _HEAD.unpack_from(answer)
    if kind == _FAILED:
        number = -_ERROR.unpack_from(answer, _HEAD.size)[0]
        if number in _UNREACHABLE:
            return NetworkRoute()
        raise OSError(number, os.strerror(number))
    if kind != _NEW_ROUTE:
        raise OSError(errno.EPROTO, os.strerror(errno.EPROTO))
    route_type = _ROUTE.unpack_from(answer, _HEAD.size)[7]
    at = _HEAD.size + _ROUTE.size
    interface = ""
    while at + _ATTRIBUTE.size <= length:
        size, name = _ATTRIBUTE.unpack_from(answer, at)
        if name == _INTERFACE:
            number = _ERROR.unpack_from(answer, at + _ATTRIBUTE.size)[0]
            interface = socket.if_indextoname(number)
        at += max((size + 3) & ~3, _ATTRIBUTE.size)
    return NetworkRoute(route_type != _UNICAST, interface)
