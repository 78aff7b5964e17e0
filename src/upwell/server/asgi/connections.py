"""Connections that are open, by address: how many there may be, and which one gives way.

A connection that no answer is under way on is idle, whatever has arrived of its next head. Where
there is no room for another, the one that has been idle longest gives way, of the address that has
the most of them: so nobody is kept out by connections that are only held open, and strangers push
out strangers. A part of the room is kept for this machine's own clients.
"""

import asyncio
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field, replace
from ipaddress import IPv6Address, ip_address

UNIX = "unix"
"""Address of all who come by a socket of this machine's file system."""
_EXPIRY_SECONDS = 0.5
"""Between two looks at connections that are too slow."""
_NETWORK_BITS = 64
"""Of an IPv6 address; the other half is its owner's to choose (RFC 4291, 2.5.4)."""


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Counts, bytes and seconds of connections."""

    total: int = 4096
    per_address: int = 2048
    """Of one address beyond this machine, or one network of IPv6 (/64)."""
    kept_for_own: int = 256
    """Of `total`: for loopback alone. The socket in the file system has as many of its own."""
    head_bytes: int = 64 * 1024
    """Of a request line and its header fields."""
    head_fields: int = 100
    head_seconds: float = 10.0
    """From the first byte of a head, or the connection's beginning, to the head's end."""
    held_bytes: int = 8 * 1024 * 1024
    """Of unfinished heads and waiting requests of all connections."""
    waiting_requests: int = 8
    """Requests of one connection that wait for the answer before them."""
    framing_bytes: int = 64 * 1024
    """Of chunk extensions, sizes and trailers of a body, and as many again as `framing_share`
    times the body's own."""
    framing_share: int = 16
    write_seconds: float = 30.0
    """A client that takes nothing for so long, while there is something to send, is cut off."""

    def within(self, room: int) -> "ConnectionLimits":
        """Return limits in the same proportions for at most `room` connections in all."""
        if room >= self.total:
            return self
        return replace(
            self,
            total=room,
            per_address=max(1, self.per_address * room // self.total),
            kept_for_own=max(1, self.kept_for_own * room // self.total),
        )


DEFAULT_CONNECTION_LIMITS = ConnectionLimits()


class RefusedConnectionError(Exception):
    """There is no room for one more, and none that gives way."""


@dataclass(slots=True, eq=False)
class TrackedConnection:
    """One connection, from being accepted until it is closed."""

    address: str
    """Groups connections; see `address_of`."""
    abort: Callable[[], object] = field(default=lambda: None)
    """Closes it at once."""
    expire: Callable[[float], None] = field(default=lambda _: None)
    """Closes it if it has been too slow by now."""
    is_idle: bool = True
    held: int = 0
    """Bytes of heads that are not answered yet."""

    def forget(self) -> None:
        """Let its protocol go, with all that it has read, without waiting for the collector."""
        self.abort, self.expire = _nothing, _nothing


def _nothing(*_: object) -> None:
    """Do nothing."""


def address_of(host: str) -> str:
    """Return the name under which connections from a host are counted."""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return UNIX
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        elif not address.is_loopback:
            network = int(address) >> _NETWORK_BITS << _NETWORK_BITS
            return f"{IPv6Address(network)}/{_NETWORK_BITS}"
    return "loopback" if address.is_loopback else str(address)


class ConnectionTable:
    """Every open connection of the server."""

    def __init__(
        self,
        limits: ConnectionLimits = DEFAULT_CONNECTION_LIMITS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.limits = limits
        self.clock = clock
        self.refused: Counter[str] = Counter()
        """Connections that were refused or cut off, by reason."""
        self._open: dict[TrackedConnection, None] = {}
        self._counts: Counter[str] = Counter()
        self._idle: dict[str, OrderedDict[TrackedConnection, None]] = {}
        """By address, the longest idle first."""
        self._holding: OrderedDict[TrackedConnection, None] = OrderedDict()
        self._held = 0

    @property
    def count(self) -> int:
        """Number of open connections."""
        return len(self._open)

    @property
    def held_bytes(self) -> int:
        """Bytes of heads that are not answered yet."""
        return self._held

    def open(self, host: str) -> TrackedConnection:
        """Count a connection from a host; raises RefusedConnectionError when there is no room."""
        address = address_of(host)
        self._make_room(address)
        connection = TrackedConnection(address)
        self._open[connection] = None
        self._counts[address] += 1
        self._idle.setdefault(address, OrderedDict())[connection] = None
        return connection

    def close(self, connection: TrackedConnection) -> None:
        """Forget a connection; idempotent."""
        if connection not in self._open:
            return
        self.release(connection)
        self._leave_idle(connection)
        connection.forget()
        del self._open[connection]
        self._counts[connection.address] -= 1
        if not self._counts[connection.address]:
            del self._counts[connection.address]

    def busy(self, connection: TrackedConnection) -> None:
        """Note that an answer is under way."""
        if connection.is_idle and connection in self._open:
            self._leave_idle(connection)
            connection.is_idle = False

    def idle(self, connection: TrackedConnection) -> None:
        """Note that no answer is under way any more."""
        if not connection.is_idle and connection in self._open:
            connection.is_idle = True
            self._idle.setdefault(connection.address, OrderedDict())[connection] = None

    def hold(self, connection: TrackedConnection, size: int) -> None:
        """Note bytes of heads that the connection keeps in memory.

        Where all hold too much, who has held some for the longest time gives way.
        """
        if connection not in self._open:
            return
        self._held += size
        connection.held += size
        self._holding.setdefault(connection)
        while self._held > self.limits.held_bytes:
            self._cut(next(iter(self._holding)), "held-bytes")

    def release(self, connection: TrackedConnection) -> None:
        """Note that the connection keeps no head in memory."""
        self._held -= connection.held
        connection.held = 0
        self._holding.pop(connection, None)

    def expire(self) -> None:
        """Close what has been too slow."""
        now = self.clock()
        for connection in list(self._open):
            connection.expire(now)

    def give_way(self) -> None:
        """Close the connection that has been idle longest, where there is one."""
        if found := self._longest_idle(self._idle):
            self._cut(found, "gave-way")

    def refuse(self, reason: str) -> None:
        """Count a refusal."""
        self.refused[reason] += 1

    def _make_room(self, address: str) -> None:
        limits = self.limits
        if address == UNIX:
            self._bound(limits.kept_for_own, [UNIX])
            return
        if address != "loopback":
            self._bound(limits.per_address, [address])
            strangers = self._counts.keys() - {UNIX, "loopback"}
            self._bound(limits.total - limits.kept_for_own, strangers)
        self._bound(limits.total, self._counts.keys() - {UNIX})

    def _bound(self, most: int, addresses: Collection[str]) -> None:
        """Make room for one more within `most` connections of some addresses."""
        if sum(self._counts[address] for address in addresses) < most:
            return
        found = self._longest_idle(addresses)
        if found is None:
            self.refuse("no-room")
            raise RefusedConnectionError(f"{most} connections are open, and all are in use")
        self._cut(found, "gave-way")

    def _longest_idle(self, addresses: Iterable[str]) -> TrackedConnection | None:
        idle = [self._idle[address] for address in addresses if address in self._idle]
        if not idle:
            return None
        longest = max(idle, key=len)
        return next(iter(longest))

    def _cut(self, connection: TrackedConnection, reason: str) -> None:
        self.refuse(reason)
        abort = connection.abort
        self.close(connection)
        abort()

    def _leave_idle(self, connection: TrackedConnection) -> None:
        if not connection.is_idle:
            return
        idle = self._idle[connection.address]
        del idle[connection]
        if not idle:
            del self._idle[connection.address]


async def keep_expiring(table: ConnectionTable) -> None:
    """Close what has been too slow, again and again until cancelled."""
    while True:
        await asyncio.sleep(_EXPIRY_SECONDS)
        table.expire()
