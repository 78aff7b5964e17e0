"""Request bodies, bounded in time and size; a client that sends for ever is cut off."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse
from starlette.types import Message, Receive, Scope, Send


class BodyError(Exception):
    """A body that does not arrive; `status` is what is answered."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """Seconds: between two pieces of a body, and for the whole of it."""

    idle: float = 60.0
    total: float = 24 * 3600.0
    grace: float = 60.0
    """Time that it may take beyond that of its bytes at `rate`."""
    rate: int = 4096
    """Bytes a second, at least."""


DEFAULT_BODY_LIMITS = BodyLimits()
_DRAIN = BodyLimits(idle=1.0, total=2.0)
_DRAIN_BYTES = 8 * 1024 * 1024
_LINGER = BodyLimits(idle=5.0, total=30.0)
_LINGER_BYTES = 256 * 1024 * 1024


async def bounded(request: Request, limits: BodyLimits) -> AsyncIterator[bytes]:
    """Yield the pieces of a body; raises BodyError when the client is too slow or gone."""
    pieces = aiter(request.stream())
    loop = asyncio.get_running_loop()
    began = loop.time()
    received = 0
    while True:
        end = began + min(limits.total, limits.grace + received / limits.rate)
        wait = min(limits.idle, end - loop.time())
        try:
            async with asyncio.timeout(wait):
                piece = await anext(pieces, None)
        except TimeoutError:
            raise BodyError(408, "the body did not arrive in time") from None
        except ClientDisconnect:
            raise BodyError(400, "the connection closed in the middle of the body") from None
        if piece is None:
            return
        if piece:
            received += len(piece)
            yield piece


async def read_at_most(limit: int, request: Request, limits: BodyLimits) -> bytes | None:
    """Return a whole body, or None as soon as it has more than `limit` bytes."""
    body = bytearray()
    async for piece in bounded(request, limits):
        body += piece
        if len(body) > limit:
            return None
    return bytes(body)


class EarlyResponse(JSONResponse):
    """An answer to a body that still arrives: the connection ends with it.

    It is sent at once. What the client sends until it has seen it is read and thrown away for a
    while: a connection closed on unread bytes is reset, and the client may never see the answer.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, let the client stop, and end."""
        self.headers["Connection"] = "close"

        async def send_open(message: Message) -> None:
            if message["type"] == "http.response.body":
                message = {**message, "more_body": True}
            await send(message)

        await super().__call__(scope, receive, send_open)
        await drained(Request(scope, receive), _LINGER, _LINGER_BYTES)
        await send({"type": "http.response.body", "body": b""})


async def drained(request: Request, limits: BodyLimits = _DRAIN, most: int = _DRAIN_BYTES) -> bool:
    """Read what is left of a refused body, a little at most; whether that was all of it."""
    read = 0
    try:
        async for piece in bounded(request, limits):
            read += len(piece)
            if read > most:
                return False
    except BodyError:  # too slow, or gone
        return False
    except RuntimeError:  # Starlette's word for a body that was read to its end before
        return True
    return True
