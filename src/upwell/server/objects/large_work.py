"""Work on large objects: in a thread, one request at a time, so that many take no more memory.

Whatever a request sends is read and decoded here, so that no body holds up the event loop.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

from starlette.applications import Starlette
from starlette.requests import Request

from upwell.api.codec import decode_and_check
from upwell.api.meta import Resource
from upwell.api.patches.content_types import PATCHES
from upwell.server.auth.caller import caller_of
from upwell.server.auth.request_seats import RequestSeats
from upwell.server.http.body import (
    Document,
    decode_json,
    decode_object,
    decode_yaml_object,
    media_type,
    read_body,
)
from upwell.server.http.errors import ApiError
from upwell.server.http.limits import ServerLimits

_SMALL = 64 * 1024
"""Bytes of all that is worked on that take a step of the event loop."""
_BYTES_OF_VALUE = 32
"""Bytes that each value counts as at least: what is done for one costs more than to read it."""


def size_of(text: bytes | bytearray | str) -> int:
    """Return the size of the work on a document, in bytes; of short values it is that of longer."""
    raw = text.encode() if isinstance(text, str) else text
    return max(len(raw), _BYTES_OF_VALUE * max(raw.count(b","), raw.count(b"\n")))


class LargeWork:
    """The large work of one request."""

    def __init__(self, seats: RequestSeats | None = None, client: str = "") -> None:
        self._seats = seats
        self._client = client
        self._held = AsyncExitStack()
        self._has_turn = False

    async def computed[T](self, compute: Callable[[], T], size: int) -> T:
        """Return what `compute` makes of `size` bytes; raises SeatError where too many wait.

        A change of a large object takes a tenth of a second or more, which is no step of the event
        loop; a thread for each small one would cost more than the change.
        """
        if size <= _SMALL:
            return compute()
        await self._take_turn()
        working = asyncio.ensure_future(asyncio.to_thread(compute))
        try:
            return await asyncio.shield(working)
        finally:
            await asyncio.wait({working})  # a thread works on when nobody waits, and has the turn
            del working  # its error's traceback has this frame: it would wait for gc

    async def end(self) -> None:
        """Give the turn back."""
        await self._held.aclose()

    async def _take_turn(self) -> None:
        if self._seats is not None and not self._has_turn:
            await self._held.enter_async_context(self._seats.seat(self._client))
            self._has_turn = True


def seat_large_work(app: Starlette, limits: ServerLimits) -> None:
    """Have the large work of all requests of an application done in turn."""
    app.state.large_work = RequestSeats(limits.large)


@asynccontextmanager
async def large_work(request: Request) -> AsyncIterator[LargeWork]:
    """Give what does the large work of a request; its turn, once taken, is held to the end."""
    source = str((request.scope.get("client") or ("",))[0])
    work = LargeWork(request.app.state.large_work, f"token {caller_of(request)} at {source}")
    try:
        yield work
    finally:
        await work.end()


async def read_object(
    request: Request, limits: ServerLimits, *, may_be_empty: bool = False
) -> Document:
    """Return the one object that a request sends, {} for none where it may; raises ApiError."""
    body, kind = await _body(request, limits), media_type(request)
    if may_be_empty and not body.strip():
        return {}
    async with large_work(request) as work:
        return await work.computed(lambda: decode_object(body, kind), size_of(body))


async def read_as[R: Resource](
    request: Request,
    limits: ServerLimits,
    kind: type[R],
    check: Callable[[R], object] | None = None,
) -> R:
    """Return the object of a kind that a request sends; raises ApiError or InvalidObjectError.

    `check` raises InvalidObjectError for what is wrong beyond types.
    """

    def checked(found: R) -> R:
        if check is not None:
            check(found)
        return found

    return await read_and_do(request, limits, kind, checked)


async def read_and_do[R: Resource, T](
    request: Request, limits: ServerLimits, kind: type[R], do: Callable[[R], T]
) -> T:
    """Return what `do` makes of the object that a request sends, in one piece of work.

    It has no effect beyond that, and is asked what is wrong with the rest of what is no object.
    """
    body, sent_as = await _body(request, limits), media_type(request)
    async with large_work(request) as work:
        return await work.computed(
            lambda: decode_and_check(kind, decode_object(body, sent_as), do), size_of(body)
        )


async def read_patched(request: Request, limits: ServerLimits, old: Document) -> Document:
    """Return what the patch that a request sends makes of an object; raises ApiError."""
    body, kind = await _body(request, limits), media_type(request)
    if (patch := PATCHES.get(kind)) is None:
        raise ApiError(415, f"cannot patch with {kind}: send one of {', '.join(PATCHES)}")
    async with large_work(request) as work:
        return await work.computed(lambda: patch(old, decode_json(body)), size_of(body))


async def read_applied(request: Request, limits: ServerLimits) -> Document:
    """Return the object that a request applies, as YAML or JSON; raises ApiError."""
    body = await _body(request, limits)
    async with large_work(request) as work:
        return await work.computed(lambda: decode_yaml_object(body), size_of(body))


async def _body(request: Request, limits: ServerLimits) -> bytes:
    return await read_body(request, limits.body_bytes, limits.body_seconds)
