"""One connection: a request, its answer, and the next request."""

import asyncio
import math
from collections import deque
from collections.abc import AsyncGenerator, Callable
from http import HTTPStatus
from typing import cast, override

import httptools

from upwell.outbound.http.errors import (
    BrokenBodyError,
    DisconnectedError,
    InvalidRequestError,
    MalformedAnswerError,
)
from upwell.outbound.http.messages import Body, HttpHeaders, HttpOrigin

MAX_HEAD_BYTES = 64 * 1024
"""Of an answer, with all that is interim; one read more may be parsed."""
_AHEAD_BYTES = 256 * 1024
"""Of a body that nobody has read yet; the kernel keeps what comes after them."""
_TICK = 0.001


class HttpConnection(asyncio.BufferedProtocol):
    """A connection with at most one request under way. `ended` hears when it is no more.

    What comes is read into `buffer`, and parsed before anything else is read into it: connections
    of one event loop share it. A buffer for each read, of the size that it might have, is memory
    that the kernel clears anew each time.
    """

    def __init__(
        self,
        origin: HttpOrigin,
        ended: Callable[["HttpConnection"], None],
        buffer: memoryview,
    ) -> None:
        self.origin = origin
        self._buffer = buffer
        self.is_used = False
        """True once a request was sent."""
        self._loop = asyncio.get_running_loop()
        self._ended = ended
        self._transport: asyncio.Transport | None = None
        self._writable = True
        self._timer: asyncio.TimerHandle | None = None
        self._deadline = self._until = math.inf
        """Time at which the connection ends by itself."""
        self._waiter: asyncio.Future[None] | None = None
        self._lost = asyncio.Event()
        self._begin(is_head=False)
        self._parser: httptools.HttpResponseParser | None = None

    def _begin(self, *, is_head: bool) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._is_head = is_head
        self._head_bytes = 0
        self._fields: list[tuple[bytes, bytes]] = []
        self._pieces = deque[bytes]()
        self._held = 0
        self._is_paused = False
        self._error: Exception | None = None
        self._interim = False
        self._reusable = False
        self._to_the_end = False
        self.status = 0
        """Of the answer; 0 until its head is there."""
        self.is_complete = False
        """True when all of the answer has come."""

    # What the client asks of it.

    @property
    def is_open(self) -> bool:
        """True if a request may be sent."""
        return self._transport is not None and not self._transport.is_closing()

    @property
    def is_reusable(self) -> bool:
        """True if another request may follow: all of the answer has come, and nothing else."""
        return self.is_open and self._reusable and self.is_complete

    async def ask(self, method: str, head: bytes, body: Body | None, deadline: float) -> None:
        """Send a request, and wait for the head of its answer; `deadline` in the loop's time.

        Raises HttpError, TimeoutError, and what opening the body does.
        """
        self.is_used = True
        self._begin(is_head=method == "HEAD")
        self._deadline = deadline
        self._end_at(deadline)
        if self._transport is None:
            raise DisconnectedError
        self._transport.write(head)
        is_sent = body is None or await self._sent(body)
        while not self.status:
            if self._error is not None:
                raise self._error
            await self._wait()
        self._reusable = self._reusable and is_sent

    def headers(self) -> HttpHeaders:
        """Return the headers of the answer."""
        return HttpHeaders(self._fields)

    async def read(self, idle: float | None) -> bytes:
        """Return the next piece of the body, empty at its end; raises HttpError, TimeoutError."""
        while not self._pieces:
            if self.is_complete:
                return b""
            if self._error is not None:
                raise self._error
            if idle is not None:
                self._end_at(min(self._deadline, self._loop.time() + idle))
            await self._wait()
            self._until = self._deadline
        piece = self._pieces.popleft()
        self._held -= len(piece)
        if self._is_paused and self._held < _AHEAD_BYTES // 2 and self._transport is not None:
            self._is_paused = False
            self._transport.resume_reading()
        return piece

    def rest(self, seconds: float) -> None:
        """Wait for another request for so long."""
        self._fields, self._pieces = [], deque()
        self._end_at(self._loop.time() + seconds)

    def close(self) -> None:
        """End the connection."""
        if self._transport is not None:
            self._transport.abort()  # nothing that we have sent is still of use

    async def wait_closed(self) -> None:
        """Wait until the connection has ended."""
        await self._lost.wait()

    # What the transport tells.

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    @override
    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    @override
    def buffer_updated(self, nbytes: int) -> None:
        if self._parser is None:
            self._fail(MalformedAnswerError())  # nobody has asked
            return
        try:
            self._parser.feed_data(self._buffer[:nbytes])
        except httptools.HttpParserError:
            self._fail(MalformedAnswerError())
        else:
            self._head_bytes += 0 if self.status else nbytes
            if self._head_bytes > MAX_HEAD_BYTES:
                self._fail(MalformedAnswerError())

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._to_the_end and exc is None and self._error is None:
            self.is_complete = True
        elif self._error is None:
            self._error = BrokenBodyError() if self.status else DisconnectedError()
        self._wake()
        self._lost.set()
        self._ended(self)

    @override
    def pause_writing(self) -> None:
        self._writable = False

    @override
    def resume_writing(self) -> None:
        self._writable = True
        self._wake()

    # What the parser tells.

    def on_message_begin(self) -> None:
        """Take note of an answer that nobody has asked for, behind the one that was."""
        if self.is_complete:
            self._reusable = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header."""
        if not self.is_complete and not self.status:
            self._fields.append((name, value))

    def on_headers_complete(self) -> None:
        """Tell who waits for the head of the answer."""
        if self._parser is None or self.is_complete:
            return
        status = self._parser.get_status_code()
        if status < HTTPStatus.OK:
            if status == HTTPStatus.SWITCHING_PROTOCOLS:
                raise MalformedAnswerError
            self._interim, self._fields = True, []
            return
        self.status = status
        self._reusable = self._parser.should_keep_alive()
        if self._is_head:
            self._complete()
        else:
            framing = {b"content-length", b"transfer-encoding"}
            framed = any(name.lower() in framing for name, _ in self._fields)
            self._to_the_end = not self._reusable and not framed
        self._wake()

    def on_body(self, piece: bytes) -> None:
        """Keep a piece of the body until it is read."""
        if self.is_complete:
            self._reusable = False
            return
        self._pieces.append(piece)
        self._held += len(piece)
        if self._held > _AHEAD_BYTES and not self._is_paused and self._transport is not None:
            self._is_paused = True
            self._transport.pause_reading()
        self._wake()

    def on_message_complete(self) -> None:
        """Tell who reads that this was all."""
        if self._interim:
            self._interim = False
        elif not self.is_complete:
            self._complete()
            self._wake()

    def _complete(self) -> None:
        self.is_complete = True
        self._to_the_end = False
        self._parser = None

    async def _sent(self, body: Body) -> bool:
        """Send a body; False if the answer came, or the connection broke, before its end."""
        left = body.size
        pieces = body.open()
        try:
            async for piece in pieces:
                left -= len(piece)
                if left < 0:
                    raise InvalidRequestError("a body that is longer than it said")
                while not self._writable and not self._is_answered():
                    await self._wait()
                if self._is_answered() or self._transport is None:
                    return False
                self._transport.write(piece)
        finally:
            if isinstance(pieces, AsyncGenerator):
                await pieces.aclose()
        if left:
            raise InvalidRequestError("a body that is shorter than it said")
        return True

    def _is_answered(self) -> bool:
        return bool(self.status) or self._error is not None

    async def _wait(self) -> None:
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _fail(self, error: Exception) -> None:
        if not self.is_complete:
            self._error = self._error or error
        self._reusable = False
        self._parser = None
        self.close()
        self._wake()

    def _end_at(self, when: float) -> None:
        """Let the connection end then. One timer serves many requests: it only moves forwards."""
        self._until = when
        if self._timer is None or self._timer.when() > when:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_at(when, self._expire)

    def _expire(self) -> None:
        self._timer = None
        if self._until > self._loop.time() + _TICK:
            self._end_at(self._until)
        else:
            self._fail(TimeoutError())
