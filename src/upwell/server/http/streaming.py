"""Answers that go on for as long as something happens, and end when the server does."""

import asyncio
import math
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field

from upwell.server.http.errors import ApiError

_READ_AHEAD = 32
"""Items of a source that wait for a slow reader, and are kept in memory by it."""


class CutOffAnswerError(Exception):
    """An answer that has begun cannot be ended as it should be.

    The server stops, or why is in its log already.
    """


@dataclass
class OpenStreams:
    """Counts what is open, and ends all of it when `shutdown` is set."""

    limit: int
    shutdown: asyncio.Event
    _open: int = field(default=0, init=False)

    @property
    def count(self) -> int:
        """Number of streams that are open now."""
        return self._open

    def require_room(self) -> None:
        """Raise ApiError 429 when as many streams are open as may be."""
        if self._open >= self.limit:
            raise ApiError(429, f"{self.limit} watches and followed logs are open: try again later")

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Count the stream that runs inside."""
        self._open += 1
        try:
            yield
        finally:
            self._open -= 1


class _Feed[T]:
    """Reads a source ahead, so that all that it has is taken at once."""

    def __init__(self, source: AsyncIterator[T]) -> None:
        self._source = source
        self._items: list[T] = []
        self._room = asyncio.Event()
        self.news = asyncio.Event()
        """Set when there is something to take, or nothing more will come."""

    async def run(self) -> None:
        """Read until the source ends; raises what it does."""
        try:
            async for item in self._source:
                self._items.append(item)
                self.news.set()
                if len(self._items) >= _READ_AHEAD:
                    self._room.clear()
                    await self._room.wait()
        finally:
            self.news.set()

    def take(self) -> Sequence[T]:
        """Return what was read, in order."""
        taken, self._items = self._items, []
        self._room.set()
        return taken


class _Alarm:
    """Sets an event at a time that is moved later again and again, mostly by nothing but a number.

    The event loop's timer is set anew when it rings too early, not whenever the time is moved.
    """

    def __init__(self, event: asyncio.Event) -> None:
        self._event = event
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._at = math.inf

    def move(self, at: float) -> None:
        """Ring at a time of the event loop's clock, and not before."""
        self._at = at
        if self._timer is not None:
            if self._timer.when() <= at:
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(at, self._ring)

    def stop(self) -> None:
        """Ring no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _ring(self) -> None:
        self._timer = None
        if self._loop.time() < self._at:
            self.move(self._at)
        else:
            self._event.set()


async def batched[T](
    source: AsyncIterator[T], stop: asyncio.Event, *, tick: float | None, seconds: float | None
) -> AsyncGenerator[Sequence[T]]:
    """Yield all that `source` has by then at once, and nothing whenever `tick` seconds pass.

    Ends with the source, when `stop` is set, or after `seconds`; then `source` is closed.
    """
    now = asyncio.get_running_loop().time
    quiet_since = now()
    end = math.inf if seconds is None else quiet_since + seconds
    tick = math.inf if tick is None else tick
    feed = _Feed(source)
    alarm = _Alarm(feed.news)
    stopped = asyncio.ensure_future(stop.wait())
    stopped.add_done_callback(lambda _: feed.news.set())
    reading = asyncio.create_task(feed.run())
    try:
        while not stop.is_set() and now() < end:
            if not reading.done():
                if (due := min(quiet_since + tick, end)) < math.inf:
                    alarm.move(due)
                await feed.news.wait()
            feed.news.clear()
            items = feed.take()
            if items:
                yield items
                quiet_since = now()
            elif reading.done():
                reading.result()
                return
            elif now() >= quiet_since + tick and not stop.is_set():
                yield ()
                quiet_since = now()
    finally:
        alarm.stop()
        stopped.cancel()
        reading.cancel()
        await asyncio.gather(stopped, reading, return_exceptions=True)
        del reading  # its error refers to this frame, which would refer to it
        if isinstance(source, AsyncGenerator):
            await source.aclose()


async def paced[T](
    source: AsyncIterator[T], stop: asyncio.Event, *, tick: float | None, seconds: float | None
) -> AsyncGenerator[T | None]:
    """Yield the items of `source`, and None whenever `tick` seconds pass without one.

    Ends as `batched` does.
    """
    async with aclosing(batched(source, stop, tick=tick, seconds=seconds)) as batches:
        async for items in batches:
            if not items:
                yield None
            for item in items:
                if stop.is_set():
                    return
                yield item
