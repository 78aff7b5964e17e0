"""Port of the packet filter between instances, Services, the machine and the world."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from typing import ClassVar, NamedTuple, Protocol

MAX_PORT = 65535


class FirewallError(Exception):
    """The filter is not in force as it should be; `reason` goes into conditions."""

    reason: ClassVar[str] = "FirewallUnavailable"
    retryable: ClassVar[bool] = True


class Opening(NamedTuple):
    """Peers that may connect, or be connected to, at some ports."""

    network: IPv4Network
    protocol: int = 0
    """As in the IP header: 6 is TCP; 0 stands for all, whatever the ports."""
    first: int = 0
    last: int = MAX_PORT


type Access = frozenset[Opening]
"""Connections that are allowed; no others are."""


@dataclass(frozen=True, slots=True)
class Bridge:
    """Network that instances are on."""

    interface: str
    instances: IPv4Network
    services: IPv4Network
    """Addresses of Services, which the machine itself answers at."""
    resolvers: frozenset[str] = frozenset()
    """Name servers outside of this machine that instances are given (IPv4)."""


@dataclass(frozen=True, slots=True)
class FirewallTable:
    """Connections that are let through, besides open ones, and those of the machine."""

    bridge: Bridge
    ingress: Mapping[str, Access] = field(default_factory=dict)
    """Address of an instance -> who may connect to it, at its own ports."""
    egress: Mapping[str, Access] = field(default_factory=dict)
    """Address of an instance -> where it may connect to; one that is absent: everywhere."""
    services: Mapping[tuple[str, int], Access | None] = field(default_factory=dict)
    """Address and TCP port of a Service -> who may connect; None: every instance."""
    known: frozenset[str] = frozenset()
    """Addresses of all instances."""
    open: bool = False
    """Instances that `ingress` does not name are open to all."""
    machine: frozenset[tuple[str, int]] = frozenset()
    """Addresses and TCP ports of this machine that instances may connect to; `0.0.0.0` is any."""
    metadata: bool = False
    """Link-local addresses, where clouds serve credentials, may be connected to."""

    @property
    def strict(self) -> bool:
        """True if an instance that is not known yet connects to nothing: some are held in."""
        return bool(self.egress)


class Firewall(Protocol):
    """Filters packets. The filter goes on while this process is away."""

    async def apply(self, table: FirewallTable) -> None:
        """Bring exactly this table into force, at once; the same table again changes nothing.

        Raises FirewallError; then the former table is in force, if there was one.
        """
        ...

    async def remove(self) -> None:
        """Filter nothing any more; idempotent. Raises FirewallError."""
        ...

    def disruptions(self) -> AsyncIterator[str]:
        """Yield, for ever, why the last table has to be applied anew: somebody changed it."""
        ...
