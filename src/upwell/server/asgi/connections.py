"""Connections that are open, by address: how many there may be, and which one gives way.

A connection that no answer is under way on is idle, whatever has arrived of its next head. It is a
stranger's until a request on it has shown a token, and then counts for who has the token, not for
the address. Where there is no room for another, one gives way: a stranger's that is idle, else a
stranger's that is answered, else an idle one of a principal; of these, the one that is so longest,
of the address or principal that has the most of them. So nobody is kept out by connections that are
only held open, and strangers push out strangers. A part of the room is kept for this machine's own
clients.
"""

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum
from functools import lru_cache
from ipaddress import IPv6Address, ip_address

from upwell.machine.clock import until_tick
from upwell.machine.larger_pieces import LargerPieces
from upwell.server.asgi.longest_queues import LongestQueues
from upwell.server.asgi.reads import MOST_LARGER_BYTES
from upwell.server.http.errors import ApiError

UNIX = "unix"
"""Address of all who come by a socket of this machine's file system."""
_LOOPBACK = "loopback"
_NETWORK = "network"
"""Origin of all whose address is neither."""
_EXPIRY_SECONDS = 1.0
"""Between two looks at connections that are too slow."""
_NETWORK_BITS = 64
"""Of an IPv6 address; the other half is its owner's to choose (RFC 4291, 2.5.4)."""


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Counts, bytes and seconds of connections."""

    total: int = 4096
    per_address: int = 2048
    """Strangers' of one address beyond this machine, or one network of IPv6 (/64)."""
    kept_for_own: int = 256
    """Of `total`: for loopback alone. The socket in the file system has as many of its own."""
    per_principal: int = 1024
    """Of whom the tokens are; the server's own user and builds have no such limit."""
    handshakes: int = 128
    """Of TLS, under way; the one that began first gives way, of the address with the most."""
    head_bytes: int = 64 * 1024
    """Of a request line and its header fields."""
    head_fields: int = 100
    begun_heads: int = 128
    """First heads that are read although they are not whole yet; the others wait in the kernel,
    and have their turns by address."""
    head_seconds: float = 10.0
    """From the first byte of a head, or the connection's beginning, to the head's end."""
    idle_seconds: int = 120
    """Between two requests. Clients in Go keep a connection for 90 s and end it themselves, so
    that none sends a request on one that is being closed."""
    held_bytes: int = 16 * 1024 * 1024
    """Of unfinished heads, of requests that wait and bodies that nobody reads yet, and of messages
    of WebSockets, of all connections."""
    waiting_requests: int = 8
    """Requests of one connection that wait for the answer before them."""
    framing_bytes: int = 64 * 1024
    """Of chunk extensions, sizes and trailers of a body, and as many again as `framing_share`
    times the body's own."""
    framing_share: int = 16
    write_seconds: float = 30.0
    """A client that takes nothing for so long, while there is something to send, is cut off."""
    write_floor: int = 4 * 1024
    """Bytes a second that a client has to take, as long as there is something to send."""
    stalled_seconds: float = 300.0
    """The same of a WebSocket, behind which somebody may sit who has stopped their terminal."""

    def within(self, room: int) -> "ConnectionLimits":
        """Return limits in the same proportions for at most `room` connections in all."""
        if room >= self.total:
            return self
        return replace(
            self,
            total=room,
            per_address=max(1, self.per_address * room // self.total),
            kept_for_own=max(1, self.kept_for_own * room // self.total),
            per_principal=max(1, self.per_principal * room // self.total),
        )


DEFAULT_CONNECTION_LIMITS = ConnectionLimits()


class RefusedConnectionError(Exception):
    """There is no room for one more, and none that gives way."""


class _Rank(IntEnum):
    """Connections that may give way, the first ones first."""

    IDLE_STRANGER = 0
    ANSWERED_STRANGER = 1
    """Slow at sending or taking, or it would have gone by itself."""
    IDLE_PRINCIPAL = 2


@dataclass(slots=True, eq=False)
class TrackedConnection:
    """One connection, from being accepted until it is closed."""

    address: str
    """Groups connections; see `address_of`."""
    principal: str = ""
    """Owner of the token that a request on it has shown last; empty: a stranger's."""
    abort: Callable[[], object] = field(default=lambda: None)
    """Closes it at once."""
    expire: Callable[[float], None] = field(default=lambda _: None)
    """Closes it if it has been too slow by now."""
    settle: Callable[[], object] = field(default=lambda: None)
    """Called once its first head is whole, or it has ended."""
    is_idle: bool = True
    held: int = 0
    """Bytes that have arrived and that nobody has taken yet."""

    @property
    def origin(self) -> str:
        """Kind of place that it comes from; each of the three has a room of its own."""
        return self.address if self.address in {UNIX, _LOOPBACK} else _NETWORK

    @property
    def owner(self) -> str:
        """Principal, or else address, for which it counts."""
        return _name(self.principal) if self.principal else self.address

    @property
    def rank(self) -> _Rank | None:
        """Turn in which it gives way; None: it never does."""
        if self.principal:
            return _Rank.IDLE_PRINCIPAL if self.is_idle else None
        return _Rank.IDLE_STRANGER if self.is_idle else _Rank.ANSWERED_STRANGER

    def forget(self) -> None:
        """Let its protocol go, with all that it has read, without waiting for the collector."""
        self.abort, self.expire, self.settle = _nothing, _nothing, _nothing


def _nothing(*_: object) -> None:
    """Do nothing."""


@lru_cache(maxsize=1024)
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
    return _LOOPBACK if address.is_loopback else str(address)


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
        self._of_origin: Counter[str] = Counter()
        self._of_owner: Counter[str] = Counter()
        self._queues: defaultdict[tuple[str, _Rank], LongestQueues[str, TrackedConnection]]
        self._queues = defaultdict(LongestQueues)
        """By origin: those that may give way, of each owner."""
        self._holding: LongestQueues[str, TrackedConnection] = LongestQueues()
        """By owner: those that hold bytes."""
        self._held = 0
        self.larger_reads = LargerPieces(MOST_LARGER_BYTES)

    @property
    def count(self) -> int:
        """Number of open connections."""
        return len(self._open)

    @property
    def held_bytes(self) -> int:
        """Bytes that have arrived and that nobody has taken yet."""
        return self._held

    def open(self, host: str) -> TrackedConnection:
        """Count a connection from a host; raises RefusedConnectionError when there is no room."""
        connection = TrackedConnection(address_of(host))
        self._make_room(connection)
        self._open[connection] = None
        self._count(connection, 1)
        self._enqueue(connection)
        return connection

    def close(self, connection: TrackedConnection) -> None:
        """Forget a connection; idempotent."""
        if connection not in self._open:
            return
        self.release(connection)
        self._dequeue(connection)
        self._count(connection, -1)
        settle = connection.settle
        connection.forget()
        del self._open[connection]
        settle()

    def busy(self, connection: TrackedConnection) -> None:
        """Note that an answer is under way."""
        settle, connection.settle = connection.settle, _nothing
        self._change(connection, is_idle=False)
        settle()

    def idle(self, connection: TrackedConnection) -> None:
        """Note that no answer is under way any more."""
        self._change(connection, is_idle=True)

    def identify(
        self, connection: TrackedConnection, principal: str, *, limited: bool = True
    ) -> None:
        """Note whose connection it is, by the token of a request.

        With `limited`, one of the principal's own gives way where it has too many; raises ApiError
        429 when all of them are in use.
        """
        if connection.principal == principal or connection not in self._open:
            return
        if limited and self._of_owner[_name(principal)] >= self.limits.per_principal:
            self._cut_own(principal)
        held = connection.held
        self.release(connection)
        self._dequeue(connection)
        self._count(connection, -1)
        connection.principal = principal
        self._count(connection, 1)
        self._enqueue(connection)
        self.hold(connection, held)

    def hold(self, connection: TrackedConnection, size: int) -> None:
        """Note so many more bytes that the connection keeps in memory.

        Where all hold too much, who has held some for the longest time gives way, of the owner with
        the most that do.
        """
        if connection not in self._open or not size:
            return
        self._held += size
        if not connection.held:
            self._holding.add(connection.owner, connection)
        connection.held += size
        while self._held > self.limits.held_bytes and (found := self._holding.oldest()):
            self._cut(found, "held-bytes")

    def release(self, connection: TrackedConnection) -> None:
        """Note that the connection keeps nothing in memory."""
        if connection.held:
            self._holding.remove(connection.owner, connection)
        self._held -= connection.held
        connection.held = 0

    def expire(self) -> None:
        """Close what has been too slow."""
        now = self.clock()
        for connection in list(self._open):
            connection.expire(now)

    def give_way(self) -> None:
        """Close the connection that gives way to another one, where there is one."""
        if found := self._next_to_go((_NETWORK, _LOOPBACK, UNIX)):
            self._cut(found, "gave-way")

    def refuse(self, reason: str) -> None:
        """Count a refusal."""
        self.refused[reason] += 1

    def _make_room(self, connection: TrackedConnection) -> None:
        limits, counts = self.limits, self._of_origin
        if connection.origin == UNIX:
            self._bound(limits.kept_for_own, counts[UNIX], (UNIX,))
            return
        if connection.origin == _NETWORK:
            owner = connection.owner
            self._bound(limits.per_address, self._of_owner[owner], (_NETWORK,), owner)
            self._bound(limits.total - limits.kept_for_own, counts[_NETWORK], (_NETWORK,))
        self._bound(limits.total, counts[_NETWORK] + counts[_LOOPBACK], (_NETWORK, _LOOPBACK))

    def _bound(self, most: int, count: int, origins: Sequence[str], owner: str = "") -> None:
        """Make room for one more within `most` connections, of which there are `count`."""
        if count < most:
            return
        found = self._next_to_go(origins, owner)
        if found is None:
            self.refuse("no-room")
            raise RefusedConnectionError(f"{most} connections are open, and all are in use")
        self._cut(found, "gave-way")

    def _next_to_go(self, origins: Sequence[str], owner: str = "") -> TrackedConnection | None:
        """Return which of them gives way first; with `owner`, of its own alone."""
        for rank in _Rank:
            queues = [self._queues[origin, rank] for origin in origins]
            longest = max(queues, key=lambda one: one.longest)
            if found := longest.oldest(owner or None):
                return found
        return None

    def _cut_own(self, principal: str) -> None:
        """Close one that the principal does not use; raises ApiError 429 without one."""
        for origin in (_NETWORK, _LOOPBACK, UNIX):
            if found := self._queues[origin, _Rank.IDLE_PRINCIPAL].oldest(_name(principal)):
                self._cut(found, "principal")
                return
        self.refuse("principal")
        most = self.limits.per_principal
        raise ApiError(429, f"token {principal} uses {most} connections: close some first")

    def _change(self, connection: TrackedConnection, *, is_idle: bool) -> None:
        if connection.is_idle is is_idle or connection not in self._open:
            return
        self._dequeue(connection)
        connection.is_idle = is_idle
        self._enqueue(connection)

    def _count(self, connection: TrackedConnection, by: int) -> None:
        for counts, name in (
            (self._of_origin, connection.origin),
            (self._of_owner, connection.owner),
        ):
            counts[name] += by
            if not counts[name]:
                del counts[name]

    def _enqueue(self, connection: TrackedConnection) -> None:
        if (rank := connection.rank) is not None:
            self._queues[connection.origin, rank].add(connection.owner, connection)

    def _dequeue(self, connection: TrackedConnection) -> None:
        if (rank := connection.rank) is not None:
            self._queues[connection.origin, rank].remove(connection.owner, connection)

    def _cut(self, connection: TrackedConnection, reason: str) -> None:
        self.refuse(reason)
        abort = connection.abort
        self.close(connection)
        abort()


def _name(principal: str) -> str:
    return f"token {principal}"


async def keep_expiring(table: ConnectionTable) -> None:
    """Close what has been too slow, again and again until cancelled."""
    while True:
        await asyncio.sleep(until_tick(_EXPIRY_SECONDS))
        table.expire()
