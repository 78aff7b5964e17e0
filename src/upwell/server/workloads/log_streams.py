"""Logs as answers: the last lines, followed until their end, several instances side by side."""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from typing import override

from starlette.responses import Response, StreamingResponse
from starlette.types import Send

from upwell.machine.tasks import closing, first_error
from upwell.server.http.streaming import CutOffAnswerError, OpenStreams, paced
from upwell.workload.errors import WorkloadError

_log = logging.getLogger(__name__)

_QUEUED_PIECES = 64
"""Pieces that wait for a slow client before the instances' logs are read on."""
_MAX_LINE = 64 * 1024


class _LogResponse(StreamingResponse):
    """A log, cut off where the runtime fails: its client must not take it for the whole."""

    @override
    async def stream_response(self, send: Send) -> None:
        """Send the log; raises CutOffAnswerError."""
        try:
            await super().stream_response(send)
        except Exception as error:
            if not isinstance(why := first_error(error), WorkloadError):
                raise
            _log.warning("log cut off", extra={"why": str(why)})
            raise CutOffAnswerError from error


def log_response(streams: OpenStreams, pieces: AsyncIterator[bytes]) -> Response:
    """Return a log as an answer; it is cut off when the server ends first."""
    streams.require_room()
    return _LogResponse(_counted(streams, pieces), media_type="text/plain; charset=utf-8")


async def _counted(streams: OpenStreams, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield the pieces; raises CutOffAnswerError where the server ends before the log does."""
    with streams.counted():
        source = paced(_with_end(pieces), streams.shutdown, tick=None, seconds=None)
        async with aclosing(source) as paces:
            async for piece in paces:
                if piece is None:
                    return
                if piece:
                    yield piece
        raise CutOffAnswerError


async def _with_end(pieces: AsyncIterator[bytes]) -> AsyncGenerator[bytes | None]:
    """Yield the pieces, and None once there are no more."""
    async with closing(pieces):
        async for piece in pieces:
            yield piece
    yield None


async def begun(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Read the first piece, so that what keeps a log from being read is raised here and now."""
    first = await anext(pieces, b"")

    async def whole() -> AsyncIterator[bytes]:
        async with closing(pieces):
            yield first
            async for piece in pieces:
                yield piece

    return whole()


async def last_lines(
    present: AsyncIterator[bytes], pieces: AsyncIterator[bytes], lines: int
) -> AsyncGenerator[bytes]:
    """Yield the last `lines` of a log, and what follows.

    `present` is the log as it is now, `pieces` the same log from its start, perhaps followed:
    reading it twice keeps it out of memory.
    """
    skip = await _start_of_last(present, lines)
    async with closing(pieces):
        async for piece in pieces:
            if skip >= len(piece):
                skip -= len(piece)
            else:
                yield piece[skip:]
                skip = 0


async def _start_of_last(pieces: AsyncIterator[bytes], lines: int) -> int:
    """Return where the last `lines` start, in bytes."""
    starts: deque[int] = deque([0], maxlen=lines + 1)
    size = 0
    async for piece in pieces:
        at = piece.find(b"\n")
        while at >= 0:
            starts.append(size + at + 1)
            at = piece.find(b"\n", at + 1)
        size += len(piece)
    if starts[-1] == size:  # a start behind the last line break is no line
        return starts[0] if len(starts) > lines else 0
    return starts[1] if len(starts) > lines else 0


async def side_by_side(logs: Mapping[str, AsyncIterator[bytes]]) -> AsyncGenerator[bytes]:
    """Yield the lines of several logs as they come, each with the name of its log before it."""
    queue: asyncio.Queue[bytes | None] = asyncio.Queue(_QUEUED_PIECES)

    async def copy(name: str, pieces: AsyncIterator[bytes]) -> None:
        async with closing(pieces), aclosing(_lines(pieces)) as lines:
            async for line in lines:
                await queue.put(f"[{name}] ".encode() + line)

    async def copy_all() -> None:
        try:
            async with asyncio.TaskGroup() as group:
                for name, pieces in logs.items():
                    group.create_task(copy(name, pieces))
        except Exception:  # but not once its reader has left: nobody would make room for it
            await queue.put(None)
            raise
        await queue.put(None)

    copying = asyncio.create_task(copy_all())
    try:
        while (line := await queue.get()) is not None:
            yield line
        await copying
    finally:
        copying.cancel()
        await asyncio.gather(copying, return_exceptions=True)


async def _lines(pieces: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
    rest = b""
    async for piece in pieces:
        *whole, rest = (rest + piece).split(b"\n")
        for line in whole:
            yield line + b"\n"
        if len(rest) > _MAX_LINE:
            yield rest + b"\n"
            rest = b""
    if rest:
        yield rest + b"\n"
