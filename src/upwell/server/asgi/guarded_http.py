"""HTTP/1.1 on one connection, bounded in bytes, requests and time before anybody is asked.

uvicorn's protocol parses and answers. Here stands what it leaves open: the size of a head and of a
body's framing, the time for a head and for taking an answer, the number of requests ahead.
"""

import asyncio
import json
from collections.abc import Iterable
from functools import partial
from typing import Any, cast, override

import httptools
from uvicorn._types import (
    ASGI3Application,
    ASGIReceiveCallable,
    ASGIReceiveEvent,
    ASGISendCallable,
    ASGISendEvent,
    HTTPResponseStartEvent,
    Scope,
)
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from upwell.server.asgi.connections import ConnectionTable, TrackedConnection
from upwell.server.asgi.guarded_websocket import GuardedWebSocketProtocol
from upwell.server.asgi.reader_pace import ReaderPace
from upwell.server.asgi.reads import LEAST_BYTES, BodyPieces, next_size
from upwell.server.asgi.send_buffers import keep_little_unsent, reset
from upwell.server.auth.request_info import IDENTIFY
from upwell.server.http.errors import ApiError, status_of
from upwell.server.http.streaming import CutOffAnswerError

_WRITE_BYTES = 16 * 1024
"""Of answers that wait for a slow reader; the kernel's buffers come before."""
_FEW_BYTES = 4 * 1024
"""Of one read of a body in so many parts that more would hold the loop."""
_MANY_PARTS = 512
"""Of a body, in one read."""
_BODY_AHEAD = 16 * 1024
"""Bytes of a body that nobody has asked for yet; the kernel keeps what comes after them."""
_LINGER_SECONDS = 2.0
"""For a refused client to read why; what it sends meanwhile is thrown away."""
_VERSIONS = {"1.0", "1.1"}
_REASONS = {
    400: b"Bad Request",
    408: b"Request Timeout",
    431: b"Request Header Fields Too Large",
    501: b"Not Implemented",
}
_CODING = b"transfer-encoding"
_FRAMING = {_CODING, b"content-length"}


class _RefusalError(Exception):
    """Ends the parsing of a connection."""


class GuardedHttpProtocol(HttpToolsProtocol):
    """A connection within the limits of its table."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        table: ConnectionTable,
        tracked: TrackedConnection,
    ) -> None:
        identify = partial(table.identify, tracked)
        super().__init__(config, server_state, {**app_state, IDENTIFY: identify})
        guarded = partial(GuardedWebSocketProtocol, table=table, tracked=tracked)
        self.ws_protocol_class = cast("Any", guarded)
        self._table = table
        self._limits = table.limits
        self._tracked = tracked
        self._refusal: tuple[int, str] | None = None
        self._ignores = False
        self._parses = False
        self._repeats = False
        """The head that is parsed is that of the request that has begun last."""
        self._head_since: float | None = table.clock()
        self._head_bytes = 0
        self._fields = 0
        self._is_head = True
        self._begun_now = False
        self._unfinished: int | None = None
        """Bytes of the head that has begun, if one has."""
        self._framing = 0
        self._parts = 0
        """Of the body, in what was read last."""
        self._reader = ReaderPace(table.limits.write_seconds, table.limits.write_floor)
        self._refused_since: float | None = None
        self._read_bytes = LEAST_BYTES
        """Of the next read, as long as it is not of too many parts."""
        self._chunked = False
        self.app = self._counting(self.app)

    @override
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin."""
        super().connection_made(transport)
        self._pace(0)
        transport.set_write_buffer_limits(high=_WRITE_BYTES)
        self._tracked.abort = self._abort
        self._tracked.expire = self._expire

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._table.close(self._tracked)
        self._read_bytes = self._table.larger_reads.resized(self._read_bytes, LEAST_BYTES)
        super().connection_lost(exc)
        self.transport.close()  # until then it refers to methods of its own
        self._let_go()

    @override
    def data_received(self, data: bytes) -> None:
        """Parse what has arrived."""
        if self._ignores:
            return
        self._unset_keepalive_if_required()
        if self._head_since is None and self._is_head:
            self._head_since = self._table.clock()
        self._begun_now, was_head = False, self._is_head
        try:
            if not was_head:
                self._framing += len(data)
            self._parses, self._parts = True, 0
            self._feed(data)
            self._judge(len(data), was_head=was_head)
            self._pace(len(data))
        except _RefusalError:
            self._end()
        except httptools.HttpParserError:
            self._refusal = self._refusal or (
                400,
                "the request is not valid HTTP/1.1: see RFC 9112",
            )
            self._end()
        finally:
            self._parses = False

    def _abort(self) -> None:
        """Close at once, and let go what was read: the loop may read from many others first."""
        self._ignores = True
        if not self._parses:
            self.parser = cast("Any", None)
        reset(self.transport)

    def _let_go(self) -> None:
        """Break the circles of references, so that all of it goes without the collector.

        Much comes and goes between two looks of the collector, and it looks no more at what it has
        set apart (`garbage`).
        """
        for request in (self._newest, *(waiting for waiting, _ in self.pipeline)):
            if request is not None:
                request.body = bytearray()  # nobody is given it any more
        self.pipeline.clear()
        self.cycle, self.app, self.parser = cast("Any", (None, None, None))

    def _judge(self, size: int, *, was_head: bool) -> None:
        """Count what was fed to the parser; raises _RefusalError beyond a limit.

        `was_head`: it was fed where a head is expected, or has begun. Else it is of a body, to
        whose end it may have come.
        """
        limits = self._limits
        if self._is_head:
            if was_head and not self._begun_now:  # else it began somewhere in what one read brought
                self._head_bytes += size
            if self._unfinished is not None:
                self._unfinished += size
                self._table.hold(self._tracked, size)
            if self._head_bytes > limits.head_bytes:
                self._refuse(431, f"the head has more than {limits.head_bytes} bytes")
        elif self._framing > limits.framing_bytes:
            self._refuse(400, "the body has more framing than content")

    def _feed(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._upgrade(data[upgrade.args[0] :])

    def _pace(self, received: int) -> None:
        """Read as much at a time as takes little of the loop; more of who sends a body fast."""
        if not hasattr(self.transport, "max_size"):  # of a socket; TLS has its own, in records
            return
        wanted = LEAST_BYTES
        if not self._is_head and self._parts <= _MANY_PARTS:
            wanted = next_size(self._read_bytes, received, chunked=self._chunked)
        if wanted != self._read_bytes:
            self._read_bytes = self._table.larger_reads.resized(self._read_bytes, wanted)
        self.transport.max_size = _FEW_BYTES if self._parts > _MANY_PARTS else self._read_bytes

    def _upgrade(self, rest: bytes) -> None:
        """Change the protocol, or answer as if that had not been asked for (RFC 9110, 7.8)."""
        if self._should_upgrade():
            self._table.release(self._tracked)
            self._table.busy(self._tracked)
            self.handle_websocket_upgrade()
            self._let_go()
            self._ignores = True
        elif framing := self._framing_fields():
            self._begin_body(framing)
            self._framing += len(rest)
            self._feed(rest)
        else:  # the parser takes no further request
            self.cycle.keep_alive = False
            self._ignores = True

    def _framing_fields(self) -> list[tuple[bytes, bytes]]:
        return [(name, value) for name, value in self.headers if name in _FRAMING]

    def _begin_body(self, framing: list[tuple[bytes, bytes]]) -> None:
        """Have a body parsed that came with an upgrade, after which the parser expects none."""
        self.parser = httptools.HttpRequestParser(self)
        fields = b"".join(b"%b: %b\r\n" % field for field in framing)
        self._repeats = True
        try:
            self.parser.feed_data(b"POST / HTTP/1.1\r\n" + fields + b"\r\n")
        finally:
            self._repeats = False

    @override
    def on_message_begin(self) -> None:
        """Begin a head."""
        if self._repeats:
            return
        if len(self.pipeline) >= self._limits.waiting_requests:
            self._refuse(400, f"more than {self._limits.waiting_requests} requests wait")
        self._is_head = self._begun_now = True
        self._head_bytes = self._fields = self._framing = self._unfinished = 0
        super().on_message_begin()

    @override
    def on_url(self, url: bytes) -> None:
        """Take a part of the target."""
        if not self._repeats:
            super().on_url(url)

    @override
    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header field; those after a body (trailers) say nothing to us."""
        if self._repeats or not self._is_head:
            return
        self._fields += 1
        if self._fields > self._limits.head_fields:
            self._refuse(431, f"the head has more than {self._limits.head_fields} fields")
        super().on_header(name, value)

    @override
    def on_headers_complete(self) -> None:
        """End a head, and begin to answer, or to wait for the answer before."""
        if self._repeats:
            return
        if self.parser.get_http_version() not in _VERSIONS:
            self._refuse(400, "the request is of no version of HTTP that is served: send HTTP/1.1")
        codings = [value for name, value in self.headers if name == _CODING]
        if codings and [one.strip().lower() for one in codings] != [b"chunked"]:
            # RFC 9112, 6.1: nobody would undo it, and where the body ends is a matter of opinion.
            self._refuse(
                501, "the body has a transfer coding of its own: send it as it is, or chunked"
            )
        self._is_head, self._head_since, self._head_bytes = False, None, 0
        self._unfinished, self._chunked = None, bool(codings)
        super().on_headers_complete()
        if self._newest is not None:
            self._newest.body = cast("Any", BodyPieces())
        self._table.busy(self._tracked)
        self._hold_again()

    @override
    def on_body(self, body: bytes) -> None:
        """Take a part of the body."""
        self._parts += 1
        self._framing -= len(body) * (1 + self._limits.framing_share)
        super().on_body(body)
        if (newest := self._newest) is not None and not newest.response_complete:
            self._table.hold(self._tracked, len(body))
            if len(newest.body) > _BODY_AHEAD:
                self.flow.pause_reading()

    @override
    def on_message_complete(self) -> None:
        """End a request."""
        if self.parser.should_upgrade() and self._framing_fields() and not self._should_upgrade():
            return  # its body is still to come
        self._is_head = True
        super().on_message_complete()

    @override
    def on_response_complete(self) -> None:
        """End an answer."""
        super().on_response_complete()
        if (newest := self._newest) is None:  # the connection was lost before
            return
        self._hold_again()
        if newest.response_complete:  # and none waits behind it
            self._table.idle(self._tracked)
            if self._head_since is not None:
                self._head_since = self._table.clock()

    @override
    def pause_writing(self) -> None:
        """Note that the client takes less than is sent."""
        super().pause_writing()
        self._reader.begin(self.transport, self._table.clock())

    @override
    def resume_writing(self) -> None:
        """Note that the client has taken what was sent."""
        super().resume_writing()
        self._reader.end()

    def _counting(self, app: ASGI3Application) -> ASGI3Application:
        """Return the application, which takes from the table what it is given to read."""

        async def counted(
            scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable
        ) -> None:
            async def receive_counted() -> ASGIReceiveEvent:
                event = await receive()
                if (newest := self._newest) is not None and not newest.body:
                    newest.body = cast("Any", BodyPieces())  # it has put its own there again
                self._hold_again()
                return event

            async def send_bounded(event: ASGISendEvent) -> None:
                if event["type"] == "http.response.start" and _is_stream(event):
                    keep_little_unsent(self.transport)
                await send(event)

            try:
                await app(scope, receive_counted, send_bounded)
            except CutOffAnswerError:
                self.transport.close()  # once what there is was taken
                await _disconnected(receive)
            except asyncio.CancelledError:  # the server stops, and waits no longer
                self.transport.abort()
                await _disconnected(receive)

        return counted

    @property
    def _newest(self) -> RequestResponseCycle | None:
        """The request that has begun last; None before the first one, and after the end."""
        return self.cycle

    def _hold_again(self) -> None:
        """Hold what is left after a head has ended, an answer, or a part of a body was taken."""
        waiting = [cycle for cycle, _ in self.pipeline]
        size = sum(_size(cycle.scope["headers"]) + len(cycle.body) for cycle in waiting)
        if (newest := self._newest) is not None and newest not in waiting:
            size += len(newest.body)
        self._table.release(self._tracked)
        self._table.hold(self._tracked, size + (self._unfinished or 0))

    def _refuse(self, code: int, why: str) -> None:
        self._refusal = code, why
        raise _RefusalError

    def _end(self) -> None:
        """Answer a refusal where no other answer is under way, and close."""
        code, why = self._refusal or (400, "")
        self._ignores, self._unfinished = True, None
        self._table.refuse(str(code))
        self._table.release(self._tracked)
        self._refused_since = self._table.clock()
        if self.transport.is_closing():
            return
        if not self._tracked.is_idle:
            reset(self.transport)
            return
        self.transport.write(_refusal(code, why))
        if self.transport.can_write_eof():
            self.transport.write_eof()
        else:
            self.transport.close()

    def _expire(self, now: float) -> None:
        """Close the connection if it has been too slow by `now`."""
        is_closing = self.transport.is_closing()
        if is_closing:
            self._reader.begin(self.transport, now)  # what is left to be sent may never be taken
        if self._refused_since is not None:
            if now - self._refused_since > _LINGER_SECONDS:
                reset(self.transport)
        elif self._reader.is_over(self.transport, now):
            if not is_closing:
                self._table.refuse("slow-reader")
            reset(self.transport)
        elif self._tracked.is_idle and self._head_seconds(now) > self._limits.head_seconds:
            self._expire_head()

    def _head_seconds(self, now: float) -> float:
        return 0 if self._head_since is None else now - self._head_since

    def _expire_head(self) -> None:
        if self._unfinished is not None:
            why = f"the head did not arrive in {self._limits.head_seconds:g} seconds"
            self._refusal = 408, why
            self._end()
        else:
            self._table.refuse("unused")
            self.transport.close()


async def _disconnected(receive: ASGIReceiveCallable) -> None:
    """Wait for the end of the connection, past what is left of the request."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _size(headers: Iterable[tuple[bytes, bytes]]) -> int:
    return sum(len(name) + len(value) for name, value in headers)


def _is_stream(start: HTTPResponseStartEvent) -> bool:
    """Return True of an answer whose length is not known."""
    return all(name.lower() != b"content-length" for name, _ in start.get("headers", ()))


def _refusal(code: int, why: str) -> bytes:
    body = json.dumps(status_of(ApiError(code, why))).encode()
    return (
        b"HTTP/1.1 %d %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"
        b"Connection: close\r\n\r\n%b"
    ) % (code, _REASONS[code], len(body), body)
