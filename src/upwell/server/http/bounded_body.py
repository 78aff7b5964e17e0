"""Request bodies, bounded in time and size; a client that sends for ever is cut off."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

from starlette.requests import ClientDisconnect, Request


class BodyError(Exception):
    """A body that does not arrive; `status` is what is answered."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """Seconds: between two pieces of a body, and for the whole of it."""

    idle: float = 60.0
    total: float = 3600.0


DEFAULT_BODY_LIMITS = BodyLimits()
_DRAIN = BodyLimits(idle=1.0, total=2.0)
_DRAIN_BYTES = 8 * 1024 * 1024


async def bounded(request: Request, limits: BodyLimits) -> AsyncIterator[bytes]:
    """Yield the pieces of a body; raises BodyError when the client is too slow or gone."""
    pieces = aiter(request.stream())
    loop = asyncio.get_running_loop()
    end = loop.time() + limits.total
    while True:
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
            yield piece


async def read_at_most(limit: int, request: Request, limits: BodyLimits) -> bytes | None:
    """Return a whole body, or None as soon as it has more than `limit` bytes."""
    body = bytearray()
    async for piece in bounded(request, limits):
        body += piece
        if len(body) > limit:
            return None
    return bytes(body)


async def drained(request: Request) -> bool:
    """Read what is left of a refused body, a little at most; whether that was all of it.

    A connection closed on unread bytes is reset, and the client may never see the answer.
    """
    read = 0
    try:
        async for piece in bounded(request, _DRAIN):
            read += len(piece)
            if read > _DRAIN_BYTES:
                return False
    except BodyError:  # too slow, or gone
        return False
    except RuntimeError:  # Starlette's word for a body that was read to its end before
        return True
    return True
