"""The policy of all requests to places that users name."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Self

from upwell.outbound.addresses import IpAddress, carried, parse_address, refused_range
from upwell.outbound.destinations import AllowedDestination
from upwell.outbound.routes import NetworkRoute, route_to

_OWN_BRIDGES = "upwell"
"""Beginning of the names of bridges that instances are behind (`workload/podman/bridge`)."""


class ForbiddenAddressError(OSError):
    """A name or address leads to where nothing is sent; the message has the next step."""

    def __init__(self, message: str) -> None:
        super().__init__(0, message)  # libraries show `strerror`

    def __str__(self) -> str:
        return str(self.strerror)


@dataclass(frozen=True, slots=True)
class OwnAddress:
    """The address at which this server listens: rights and image policies go by its own names."""

    port: int
    names: frozenset[str]
    """Hosts, in lower case and without brackets, by which it may be reached."""
    told: str
    """Name of its registry, for people."""
    bound: IpAddress | None = None
    """None: every address of the machine."""

    def is_at(self, address: IpAddress, route: Callable[[IpAddress], NetworkRoute]) -> bool:
        """Return True if a connection to its port at an address gets to it."""
        if self.bound is None:
            return address.is_loopback or address.is_unspecified or route(address).local
        return address == self.bound or (address.is_unspecified and self.bound.is_loopback)


@dataclass(frozen=True, slots=True)
class OutboundPolicy:
    """Addresses that may be connected to: all but this machine's own and special ones.

    Private networks are allowed, since registries and git hosts are there; what is `allowed`
    comes first.
    """

    allowed: tuple[AllowedDestination, ...] = ()
    route: Callable[[IpAddress], NetworkRoute] = route_to
    own: OwnAddress | None = None
    """Reached by its own names alone, whatever is allowed; None: as any other."""

    @classmethod
    def of(cls, allowed: Iterable[str]) -> Self:
        """Return the policy that allows these besides; raises ValueError."""
        return cls(tuple(map(AllowedDestination.parse, allowed)))

    def also(self, allowed: Iterable[str]) -> Self:
        """Return the policy that allows these as well; raises ValueError."""
        return replace(self, allowed=(*self.allowed, *map(AllowedDestination.parse, allowed)))

    def reaching(self, own: OwnAddress) -> Self:
        """Return the policy by which this server is reached by its own names alone."""
        return replace(self, own=own)

    def allows_name(self, host: str, port: int) -> bool:
        """Return True if the administrator trusts a name, whatever it leads to."""
        return any(one.allows_name(host, port) for one in self.allowed)

    def check(self, address: str, port: int, host: str = "") -> None:
        """Judge an address before it is connected to, and the name that led to it.

        Raises ForbiddenAddressError.
        """
        judged = parse_address(address)
        self._check_own(judged, port, host)
        if host and self.allows_name(host, port):
            return
        if any(one.allows_address(judged, port) for one in self.allowed):
            return
        if why := refused_range(judged) or self._own(judged):
            raise ForbiddenAddressError(_refusal(str(judged), port, host, why))

    def _check_own(self, address: IpAddress, port: int, host: str) -> None:
        own = self.own
        name = host.lower().rstrip(".") or str(address)
        if own is None or port != own.port or name in own.names:
            return
        if any(own.is_at(one, self.route) for one in carried(address)):
            shown = f"{name}:{port}" if host else f"port {port} of {name}"
            raise ForbiddenAddressError(
                f"refused: {shown} is this server's own registry, whose images are called"
                f" {own.told}/NAMESPACE/NAME: write that name, or add this one to `names` of"
                " [server] in the configuration file"
            )

    def _own(self, address: IpAddress) -> str:
        for one in carried(address):
            try:
                route = self.route(one)
            except OSError as error:  # who cannot know must not send
                return f"an address whose route the kernel does not tell ({error.strerror})"
            if route.local:
                return "an address of this machine"
            if route.interface.startswith(_OWN_BRIDGES):
                return "an address of an instance on this machine"
        return ""


def _refusal(address: str, port: int, host: str, why: str) -> str:
    where = f"{address} ({host})" if host and host != address else address
    shown = host or (f"[{address}]" if ":" in address else address)
    return (
        f"refused: {where} is {why}; an administrator may allow it by"
        f' allow = ["{shown}:{port}"] below [outbound] in the configuration file'
    )
