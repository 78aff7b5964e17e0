"""Generation of the kernel's rulesets: a number that changes with every change by anybody."""

import os
import socket
import struct

_NETLINK_NETFILTER = 12
_GET_GENERATION = (10 << 8) | 16
"""NFNL_SUBSYS_NFTABLES and NFT_MSG_GETGEN (linux/netfilter/nf_tables.h)."""
_REQUEST = 1
_ERROR = 2
_ID = 1
"""NFTA_GEN_ID."""
_HEADER = struct.Struct("=IHHIIBBH")
"""Of netlink, with that of nfnetlink: length, type, flags, sequence, port; family, version, id."""
_SECONDS = 2.0


def ruleset_generation() -> int:
    """Return the generation of the rulesets of this network namespace; raises OSError."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER) as link:
        link.settimeout(_SECONDS)
        link.bind((0, 0))
        link.send(_HEADER.pack(_HEADER.size, _GET_GENERATION, _REQUEST, 1, 0, 0, 0, 0))
        answer = link.recv(4096)
    _, kind, *_ = _HEADER.unpack_from(answer)
    if kind == _ERROR:
        (code,) = struct.unpack_from("=i", answer, 16)
        raise OSError(-code, os.strerror(-code))
    at = _HEADER.size
    while at + 8 <= len(answer):
        length, attribute = struct.unpack_from("=HH", answer, at)
        if attribute == _ID:
            return int.from_bytes(answer[at + 4 : at + 8])
        at += max(4, (length + 3) & ~3)
    raise OSError("the kernel has not said which generation its rulesets are")
