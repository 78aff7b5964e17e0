"""The router port: sends requests to the endpoints of a table."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import ClassVar, Protocol


class RouterUnavailableError(Exception):
    """The router does not start or does not take the new table; the old one stays in force.

    Base of every error that this package raises; `reason` goes into a condition.
    """

    reason: ClassVar[str] = "RouterUnavailable"
    retryable: ClassVar[bool] = True


class RouterDownError(RouterUnavailableError):
    """The router does not run: no table is in force, and nobody gets a request."""


@dataclass(frozen=True, slots=True)
class BackendServer:
    """A server of a backend; `draining` gets no new request but finishes those it has."""

    name: str
    address: str
    port: int
    draining: bool = False


@dataclass(frozen=True, slots=True)
class Backend:
    """The endpoints behind one port of one Service."""

    name: str
    endpoints: tuple[BackendServer, ...]


class Plain(StrEnum):
    """Treatment of plain HTTP where TLS is served (route/v1 InsecureEdgeTerminationPolicy)."""

    REFUSE = "None"
    ALLOW = "Allow"
    REDIRECT = "Redirect"


@dataclass(frozen=True, slots=True)
class Tls:
    """TLS of a rule."""

    passthrough: bool = False
    """The endpoints speak it themselves; the host is read from the handshake (SNI)."""
    plain: Plain = Plain.REFUSE
    certificate: str = field(default="", repr=False)
    """Certificate, chain and key in PEM; empty: one is made by the router's own authority."""
    destination_authority: str = ""
    """In PEM; not empty: endpoints are spoken to by TLS, with certificates of this authority."""


@dataclass(frozen=True, slots=True)
class HttpRule:
    """Requests for `host` below `path` go to the backends by weight."""

    name: str
    host: str
    path: str
    backends: tuple[tuple[str, int], ...]
    tls: Tls | None = None


@dataclass(frozen=True, slots=True)
class Listener:
    """A Service port: what comes to `address:port` goes to a backend."""

    name: str
    address: str
    port: int
    backend: str
    http: bool = False
    """It is HTTP: each request finds an endpoint of its own, whatever the connection's age."""


@dataclass(frozen=True, slots=True)
class RoutingTable:
    """Rules of the router; applying the same table twice changes nothing."""

    backends: tuple[Backend, ...] = ()
    rules: tuple[HttpRule, ...] = ()
    listeners: tuple[Listener, ...] = ()


class Router(Protocol):
    """Routes requests to endpoints. Keeps on serving while this process is away."""

    async def apply(self, table: RoutingTable) -> Mapping[str, str]:
        """Make `table` the truth without losing a request.

        Returns the listeners and rules that could not be served, by name, with the reason
        (the port is in use, say); all others are in force.
        """
        ...

    async def restore(self) -> bool:
        """Bring the last table into force again, if it is no more; without one, nothing happens.

        Returns False while the router does not stay up: it should be given time then, and another
        look. Raises RouterUnavailableError.
        """
        ...

    def disruptions(self) -> AsyncIterator[str]:
        """Yield, for ever, why the last table has to be applied anew.

        Once for each outage: the router has ended, or hung and was ended; and when an address that
        it lacked has become free. One listener; it only notices, and restores nothing.
        """
        ...

    async def sessions(self, backend: str) -> Mapping[str, int]:
        """Return the number of open sessions by endpoint name.

        Every endpoint of the last table is there, with 0 when it is idle. One that the table has
        no more is there while it has sessions, and forgotten with the first table after them.
        """
        ...

    @property
    def http_address(self) -> str:
        """host:port where Routes answer."""
        ...
