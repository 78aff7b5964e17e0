"""Flows of UDP that the kernel remembers: a client that goes on sending stays with who is gone.

Connection tracking (ctnetlink) translates a flow as it did its first packet. What came while an
instance was away, or to the one before, would never reach the new one. Source: linux/netfilter/
nfnetlink_conntrack.h and nfnetlink.h.
"""

import errno
import logging
import socket
import struct
from collections.abc import Collection, Iterator

_log = logging.getLogger(__name__)

_NETLINK_NETFILTER = 12
_CT_GET, _CT_DELETE = 0x101, 0x102
"""Subsystem conntrack (1), messages IPCTNL_MSG_CT_GET and IPCTNL_MSG_CT_DELETE."""
_REQUEST, _ACK, _DUMP = 0x1, 0x4, 0x300
_ERROR, _DONE = 2, 3
_HEADER = struct.Struct("=IHHII")
_FAMILY_HEADER = struct.pack("=BBH", socket.AF_INET, 0, 0)
_ATTRIBUTE = struct.Struct("=HH")
_TUPLE_ORIGINAL, _TUPLE_PROTOCOL = 1, 2
_NUMBER, _DESTINATION_PORT = 1, 3
_TYPE = 0x3FFF
"""Without the flags "nested" and "network byte order"."""
_SECONDS = 2.0
_BUFFER = 1 << 18


def forget_flows(ports: Collection[int]) -> None:
    """Have the kernel forget the flows of UDP to some ports of this machine.

    Where it does not let us, they end by themselves once their clients are silent for a while.
    """
    if not ports:
        return
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER) as netlink:
            netlink.settimeout(_SECONDS)
            netlink.bind((0, 0))
            for original in list(_originals(netlink)):
                if _udp_port(original) in ports:
                    _delete(netlink, original)
    except OSError as error:
        _log.warning("flows of UDP are not forgotten", extra={"why": str(error)})


def _originals(netlink: socket.socket) -> Iterator[bytes]:
    """Yield the attribute of each flow that says whom its first packet was to."""
    netlink.send(_message(_CT_GET, _DUMP, b""))
    for kind, body in _answers(netlink):
        if kind == _CT_GET & ~0xFF:  # IPCTNL_MSG_CT_NEW
            for name, whole in _attributes(body[len(_FAMILY_HEADER) :]):
                if name == _TUPLE_ORIGINAL:
                    yield whole


def _delete(netlink: socket.socket, original: bytes) -> None:
    netlink.send(_message(_CT_DELETE, _ACK, original))
    for kind, body in _answers(netlink):
        code = -struct.unpack_from("=i", body)[0] if kind == _ERROR else 0
        if code not in {0, errno.ENOENT}:  # it may have ended by itself
            raise OSError(code, "conntrack")


def _udp_port(original: bytes) -> int:
    """Return the destination of a flow; 0 for other protocols than UDP."""
    for name, whole in _attributes(original[_ATTRIBUTE.size :]):
        if name == _TUPLE_PROTOCOL:
            parts = dict(_attributes(whole[_ATTRIBUTE.size :]))
            number, port = (parts.get(key, b"")[4:] for key in (_NUMBER, _DESTINATION_PORT))
            if number[:1] == bytes([socket.IPPROTO_UDP]):
                return int.from_bytes(port[:2], "big")
    return 0


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield type and whole of each attribute."""
    while len(data) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(data)
        if length < _ATTRIBUTE.size:
            return
        yield kind & _TYPE, data[:length].ljust(_aligned(length), b"\0")
        data = data[_aligned(length) :]


def _aligned(length: int) -> int:
    return (length + 3) & ~3


def _message(kind: int, flags: int, attributes: bytes) -> bytes:
    body = _FAMILY_HEADER + attributes
    return _HEADER.pack(_HEADER.size + len(body), kind, _REQUEST | flags, 1, 0) + body


def _answers(netlink: socket.socket) -> Iterator[tuple[int, bytes]]:
    """Yield kind and body of the answers to one message, up to its end or acknowledgement."""
    while True:
        data = netlink.recv(_BUFFER)
        while len(data) >= _HEADER.size:
            length, kind, *_ = _HEADER.unpack_from(data)
            if length < _HEADER.size:
                return
            if kind == _DONE:
                return
            yield kind, data[_HEADER.size : length]
            if kind == _ERROR:
                return
            data = data[_aligned(length) :]
