"""Takes connections: with TLS alone, or those that begin with it and those that do not on one port.

On loopback the API is plain HTTP, but kubectl and oc send no token without TLS. Registry clients
try TLS first even where they may do without, and it would only slow them down. Those of Docker and
Podman share a list of cipher suites that has no ChaCha20, name no protocol (ALPN), and never ask
for `TLS_NAME`: who does one of these is spoken to in TLS. Kubernetes' clients, browsers and most
libraries name HTTP/1.1 or HTTP/2; the WebSockets of `oc exec`, and of clients in other languages,
take ChaCha20; a kubeconfig can have the name. A registry client that is taken for one of them is
served: where it may do without TLS it does not verify either. The others are told in HTTP, as Go's
server does: they go on without TLS at once, where a connection that is closed would be tried again.
"""

import asyncio
import asyncio.sslproto
import logging
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar, copy_context
from functools import partial

from upwell.machine.sockets.event_loop import let_strangers_wait
from upwell.server.asgi.begun_heads import BegunHeads
from upwell.server.asgi.client_hello import (
    HANDSHAKE,
    offers_chacha20,
    offers_protocol,
    server_name,
)
from upwell.server.asgi.connections import (
    ConnectionTable,
    RefusedConnectionError,
    TrackedConnection,
)
from upwell.server.asgi.longest_queues import LongestQueues

log = logging.getLogger(__name__)

TLS_NAME = "upwell"
"""Server name (SNI) that clients must send to be answered in TLS."""

_SPEAK_PLAIN = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n"
    b"Connection: close\r\n\r\n400 Bad Request: without TLS, please"
)
_OFFERS = b"\x02h2\x08http/1.1"
"""Protocols that Kubernetes' clients offer, as Go writes them: before all of a hello is there."""
_ANY_NAME: ContextVar[bool] = ContextVar("_ANY_NAME", default=False)
"""True in the tasks and callbacks of a connection that is answered by whatever name."""
_BACKLOG = 65_535
"""At most what the machine allows: net.core.somaxconn (listen(2))."""
_PORTION = 64
"""Connections that are taken before others have their turn."""
_SECONDS = 10.0
"""For the handshake."""
_PAUSE = 0.1
"""Before connections are taken again when there are too many open files."""
_PEEK = 16 * 1024
"""Bytes among which a head is looked for its end before it is read: most have fewer."""
_END_OF_HEAD = b"\r\n\r\n"
_TLS_BUFFER = 32 * 1024
"""Of one connection: room for two records (RFC 8446, 5.1)."""

type Protocols = Callable[[TrackedConnection], asyncio.Protocol]


def answer_to_name(context: ssl.SSLContext) -> ssl.SSLContext:
    """Let `context` refuse whoever neither asks for `TLS_NAME` nor is answered by any name."""

    def judge(_connection: ssl.SSLObject, name: str | None, _context: ssl.SSLContext) -> int | None:
        is_meant = name == TLS_NAME or _ANY_NAME.get()
        return None if is_meant else ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME

    context.sni_callback = judge
    return context


async def take_connections(
    listener: socket.socket,
    protocols: Protocols,
    tls: ssl.SSLContext,
    table: ConnectionTable,
    *,
    plain: bool,
) -> None:
    """Hand each connection to a protocol of its own, until cancelled.

    With `plain`, those that do not begin with TLS are answered without.
    """
    # asyncio allots 256 KiB to each connection with TLS, which its peer need not ever use.
    asyncio.sslproto.SSLProtocol.max_size = _TLS_BUFFER
    listener.settimeout(0)
    listener.listen(_BACKLOG)
    let_strangers_wait(listener)
    async with asyncio.TaskGroup() as opening:
        opener = _Opener(protocols, None if plain else tls, tls, table, opening)
        try:
            await _take(listener, opener, table)
        finally:
            opener.close()


async def _take(listener: socket.socket, opener: "_Opener", table: ConnectionTable) -> None:
    """Take what waits, a portion at each turn of the loop.

    One at each turn would be slower than a flood: the kernel's queue is full then, and who comes is
    dropped, tries again after 1, 3 and 7 seconds (RFC 6298, 2), and is dropped again.
    """
    loop = asyncio.get_running_loop()
    while True:
        try:
            opener.begin(*await loop.sock_accept(listener))
            for _ in range(_PORTION):
                opener.begin(*listener.accept())
        except BlockingIOError:
            continue
        except OSError:
            table.give_way()
            await asyncio.sleep(_PAUSE)
        else:
            await asyncio.sleep(0)


class _Opener:
    """Finds out how connections begin, and gives each to its protocol.

    Until its first byte a connection costs little: a descriptor, and who waits for it. So does one
    whose head is not whole, where many are read already.
    """

    def __init__(
        self,
        protocols: Protocols,
        always: ssl.SSLContext | None,
        tls: ssl.SSLContext,
        table: ConnectionTable,
        tasks: asyncio.TaskGroup,
    ) -> None:
        self._protocols = protocols
        self._always = always
        self._tls = tls
        self._table = table
        self._tasks = tasks
        self._loop = asyncio.get_running_loop()
        self._waiting: dict[TrackedConnection, socket.socket] = {}
        self._handshakes: LongestQueues[str, TrackedConnection] = LongestQueues()
        """By address: those whose handshake is under way."""
        self._shaking: set[TrackedConnection] = set()
        self._heads = BegunHeads(table.limits.begun_heads)

    def begin(self, connection: socket.socket, peer: object) -> None:
        """Wait for the first byte, which is there already for most; or close where no room is."""
        try:
            tracked = self._table.open(peer[0] if isinstance(peer, tuple) else "")
        except RefusedConnectionError:
            connection.close()
            return
        connection.settimeout(0)
        self._waiting[tracked] = connection
        tracked.abort = partial(self._drop, tracked)
        tracked.expire = partial(self._expire, tracked, self._table.clock())
        if not self._open(tracked):
            self._loop.add_reader(connection, self._open, tracked)

    def close(self) -> None:
        """Close those of whom nothing was heard."""
        for tracked in list(self._waiting):
            self._drop(tracked)

    def _expire(self, tracked: TrackedConnection, since: float, now: float) -> None:
        if now - since > self._table.limits.head_seconds:
            self._table.refuse("unused")
            self._drop(tracked)
        elif tracked in self._heads and self._is_worth_reading(tracked):
            self._heads.leave(tracked)
            self._open(tracked)

    def _is_worth_reading(self, tracked: TrackedConnection) -> bool:
        """Return True if its head is whole now, or its peer has gone."""
        begun = self._peek(tracked)
        return begun is not None and (not begun or _END_OF_HEAD in begun)

    def _drop(self, tracked: TrackedConnection) -> None:
        self._table.close(tracked)
        self._heads.leave(tracked)
        if (connection := self._waiting.pop(tracked, None)) is not None:
            self._loop.remove_reader(connection)
            connection.close()

    def _peek(self, tracked: TrackedConnection) -> bytes | None:
        """Return how it begins, and leave that to be read; None: nothing is there, b"": no more."""
        try:
            return self._waiting[tracked].recv(_PEEK, socket.MSG_PEEK)
        except BlockingIOError:
            return None
        except OSError:
            return b""

    def _open(self, tracked: TrackedConnection) -> bool:
        """Find out of what kind it is, and give it to its protocol, in its turn.

        Return False as long as nothing is there.
        """
        begun = self._peek(tracked)
        if begun is None:
            return False
        if not begun:
            self._drop(tracked)
            return True
        self._loop.remove_reader(self._waiting[tracked])
        tls = self._tls if begun[:1] == HANDSHAKE else self._always
        any_name = _OFFERS in begun or offers_protocol(begun) or offers_chacha20(begun)
        if tls is not self._always and not any_name and server_name(begun) not in {TLS_NAME, None}:
            self._refuse(tracked, _SPEAK_PLAIN)
            return True
        if tls is None and _END_OF_HEAD not in begun:
            if not self._heads.begin(tracked):
                return True
            tracked.settle = partial(self._settle, tracked)
        self._start(tracked, tls, any_name=any_name)
        return True

    def _refuse(self, tracked: TrackedConnection, answer: bytes) -> None:
        """Answer and close; what has arrived is read first, or the answer might never arrive."""
        connection = self._waiting[tracked]
        with suppress(OSError):
            connection.recv(_PEEK)
            connection.send(answer)
            connection.shutdown(socket.SHUT_WR)
        self._drop(tracked)

    def _settle(self, tracked: TrackedConnection) -> None:
        """Have the next head read, as this one is whole, or has ended."""
        if (following := self._heads.end(tracked)) is not None:
            following.settle = partial(self._settle, following)
            self._start(following, None)

    def _start(
        self, tracked: TrackedConnection, tls: ssl.SSLContext | None, *, any_name: bool = False
    ) -> None:
        connection = self._waiting.pop(tracked)
        context = copy_context()
        context.run(_ANY_NAME.set, any_name)
        task = self._tasks.create_task(self._connect(tracked, connection, tls), context=context)
        tracked.abort = task.cancel
        tracked.expire = lambda _: None
        if tls is not None:
            self._begin_handshake(tracked)
        # Not in the task itself: one that is cancelled before its first step takes none.
        task.add_done_callback(partial(self._end, tracked, connection))

    def _end(
        self, tracked: TrackedConnection, connection: socket.socket, task: asyncio.Task[bool]
    ) -> None:
        """Close what has not become open."""
        self._end_handshake(tracked)
        if task.cancelled() or not task.result():
            self._table.close(tracked)
            connection.close()

    def _begin_handshake(self, tracked: TrackedConnection) -> None:
        """Count a handshake; where too many are under way, one of them ends."""
        if self._handshakes.count >= self._table.limits.handshakes:
            longest = self._handshakes.oldest()
            if longest is not None:
                self._table.refuse("handshake")
                self._end_handshake(longest)
                longest.abort()
        self._handshakes.add(tracked.address, tracked)
        self._shaking.add(tracked)

    def _end_handshake(self, tracked: TrackedConnection) -> None:
        if tracked in self._shaking:
            self._shaking.remove(tracked)
            self._handshakes.remove(tracked.address, tracked)

    async def _connect(
        self, tracked: TrackedConnection, connection: socket.socket, tls: ssl.SSLContext | None
    ) -> bool:
        """Begin the protocol; return whether it has begun. Raises nothing but CancelledError."""
        try:
            async with asyncio.timeout(_SECONDS):
                await self._loop.connect_accepted_socket(
                    lambda: self._protocols(tracked), connection, ssl=tls
                )
        except OSError:  # among them ssl.SSLError and TimeoutError
            return False
        except Exception:
            log.exception("a connection could not be opened")
            return False
        return True
