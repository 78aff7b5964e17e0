"""WebSockets on one connection, bounded in what waits in either direction, and for how long."""

import asyncio
from collections import deque
from functools import partial
from typing import Any, override

from uvicorn._types import (
    ASGI3Application,
    ASGIReceiveCallable,
    ASGISendCallable,
    Scope,
    WebSocketEvent,
)
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.wsproto_impl import WSProtocol
from wsproto.events import BytesMessage, Ping, TextMessage

from upwell.server.asgi.connections import ConnectionTable, TrackedConnection
from upwell.server.asgi.send_buffers import keep_little_unsent, reset

_FEW_BYTES = 4 * 1024
"""Of one read as long as messages are short: each is some microseconds of the loop."""
_READ_BYTES = 64 * 1024
_MANY_MESSAGES = 64
"""Of one read."""
_MESSAGE_BYTES = 512
"""Of memory that a message takes beside its content."""
_LARGE_MESSAGE = 256 * 1024
_GRACE_SECONDS = 5.0
"""To deal with what a client has sent before it left, unless that is large."""


class GuardedWebSocketProtocol(WSProtocol):
    """A WebSocket within the limits of its table.

    A message counts for its client until the application asks for the next one.
    """

    def __init__(self, *, table: ConnectionTable, tracked: TrackedConnection, **rest: Any) -> None:
        super().__init__(**rest)
        self._table = table
        self._tracked = tracked
        self._begun = 0
        """Bytes of the message whose end is still to come."""
        self._waiting: deque[int] = deque()
        """Bytes of each message that the application has not asked for."""
        self._given = 0
        """Bytes of the message that it works on, and of what it makes of it."""
        self._messages = 0
        """That the last read has brought."""
        self._blocked_since: float | None = None
        self._answering: asyncio.Task[None] | None = None

    @override
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin."""
        super().connection_made(transport)
        keep_little_unsent(transport)
        self._tracked.abort = partial(reset, transport)
        self._tracked.expire = self._expire
        self._pace(_FEW_BYTES)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._table.close(self._tracked)
        self.buffer.clear()
        while sum(self._waiting) > _LARGE_MESSAGE:  # whoever answers may not ask for them
            self.queue.get_nowait()
            self._waiting.popleft()
        super().connection_lost(exc)
        if self._answering is not None:  # it may work on a message for ever, and never ask again
            grace = 0 if self._given > _LARGE_MESSAGE else _GRACE_SECONDS
            self.loop.call_later(grace, self._leave, self._answering)

    @override
    def data_received(self, data: bytes) -> None:
        """Parse what has arrived."""
        self._messages = 0
        super().data_received(data)
        self._hold_again()
        self._pace(_FEW_BYTES if self._messages > _MANY_MESSAGES else _READ_BYTES)

    @override
    def handle_message(self, event: TextMessage | BytesMessage) -> None:
        """Take a part of a message."""
        self._messages += 1
        self._begun += len(event.data)
        super().handle_message(event)
        if event.message_finished and not self.close_sent:
            self._waiting.append(self._begun + _MESSAGE_BYTES)
            self._begun = 0

    @override
    def handle_ping(self, event: Ping) -> None:
        """Answer, unless the client takes none: the last of several will do (RFC 6455, 5.5.3)."""
        self._messages += 1
        if self.writable.is_set():
            super().handle_ping(event)

    @override
    async def run_asgi(self) -> None:
        """Have the request answered."""
        self.app = partial(self._answer, self.app)
        await super().run_asgi()

    @override
    async def receive(self) -> WebSocketEvent:
        """Return the next message, as the one before has been dealt with."""
        self._given = 0
        self._hold_again()
        event = await super().receive()
        if event["type"] == "websocket.receive" and self._waiting:
            self._given = 2 * self._waiting.popleft()
        return event

    @override
    def pause_writing(self) -> None:
        """Note that the client takes less than is sent."""
        super().pause_writing()
        self._blocked_since = self._table.clock()

    @override
    def resume_writing(self) -> None:
        """Note that the client has taken what was sent."""
        super().resume_writing()
        self._blocked_since = None

    async def _answer(
        self,
        app: ASGI3Application,
        scope: Scope,
        receive: ASGIReceiveCallable,
        send: ASGISendCallable,
    ) -> None:
        self.app = app  # not the circle that it was for a moment
        self._answering = asyncio.current_task()
        try:
            await app(scope, receive, send)
        except asyncio.CancelledError:  # nobody waits for it, or the server stops
            raise ClientDisconnected from None
        finally:
            self._answering = None

    def _leave(self, answering: asyncio.Task[None]) -> None:
        """End an answer that nobody waits for."""
        if self._answering is answering:
            answering.cancel()

    def _hold_again(self) -> None:
        self._table.release(self._tracked)
        self._table.hold(self._tracked, self._begun + sum(self._waiting) + self._given)

    def _pace(self, size: int) -> None:
        """Read so much at a time."""
        if hasattr(self.transport, "max_size"):  # of a socket; TLS has its own, in records
            self.transport.max_size = size

    def _expire(self, now: float) -> None:
        """Close the connection if its client has taken nothing for too long by `now`."""
        if self._blocked_since is None and self.transport.is_closing():
            self._blocked_since = now  # what is left to be sent may never be taken
        if self._blocked_since is None:
            return
        if now - self._blocked_since > self._table.limits.stalled_seconds:
            self._table.refuse("slow-reader")
            reset(self.transport)
