"""Destinations that an administrator allows: a network, an address or a name; pure."""

import re
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Self

from upwell.outbound.addresses import IpAddress

_NAME = re.compile(r"(?:\*\.)?[a-z0-9_](?:[a-z0-9_.-]*[a-z0-9_])?")
_PORT = re.compile(r"[0-9]{1,5}")
_BRACKETED = re.compile(r"\[([0-9A-Fa-f:.]+)\](?::([0-9]+))?")
_NUMERIC = re.compile(r"(?:0x[0-9a-f]*|[0-9]+)")
"""A last label that makes a system take the whole for an IPv4 address (WHATWG URL, 4.3)."""
_MAX_PORT = 65_535
_LOCALHOST = (ip_network("127.0.0.0/8"), ip_network("::1/128"))


@dataclass(frozen=True, slots=True)
class AllowedDestination:
    """Destination as it is written: `10.0.0.0/8`, `[::1]:80`, `git.corp:22`, `*.corp`."""

    text: str
    networks: tuple[IPv4Network | IPv6Network, ...] = ()
    """Empty for a name."""
    name: str = ""
    """In lower case; `*.` in front stands for all names below."""
    port: int | None = None
    """None: any."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a destination; raises ValueError."""
        wanted = text.strip().lower()
        if "/" in wanted or wanted.count(":") > 1:
            bracketed = _BRACKETED.fullmatch(wanted)
            host, port = (bracketed[1], bracketed[2] or "") if bracketed else (wanted, "")
            return cls(text, (ip_network(host),), port=_port(port))
        host, colon, port = wanted.partition(":")
        if colon and not port:
            raise ValueError(f"{text!r} has no port after its colon")
        number = _port(port)
        try:
            return cls(text, (ip_network(host),), port=number)
        except ValueError:
            pass
        host = host.rstrip(".")
        if not _NAME.fullmatch(host) or _NUMERIC.fullmatch(host.rpartition(".")[2]):
            raise ValueError(f"{text!r} is no network, address or name, with a port or without")
        if host == "localhost":
            return cls(text, _LOCALHOST, host, number)
        return cls(text, (), host, number)

    def allows_name(self, host: str, port: int) -> bool:
        """Return True if whatever address this name leads to is allowed."""
        host = host.lower().rstrip(".")
        if not self.name or self.port not in {None, port}:
            return False
        return host == self.name or (self.name[0] == "*" and host.endswith(self.name[1:]))

    def allows_address(self, address: IpAddress, port: int) -> bool:
        """Return True if the address is allowed, whatever name led to it."""
        return self.port in {None, port} and any(address in one for one in self.networks)


def _port(text: str) -> int | None:
    if not text:
        return None
    if not _PORT.fullmatch(text) or not 0 < int(text) <= _MAX_PORT:
        raise ValueError(f"{text!r} is no port")
    return int(text)
