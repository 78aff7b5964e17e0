"""Answers that go on for as long as something happens, and end when the server does."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from upwell.server.statuses import ApiError


@dataclass
class OpenStreams:
    """Counts what is open, and ends all of it when `shutdown` is set."""

    limit: int
    shutdown: asyncio.Event
    _open: int = field(default=0, init=False)

    @property
    def count(self) -> int:
        """How many are open now."""
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


async def paced[T](
    source: AsyncIterator[T], stop: asyncio.Event, *, tick: float | None, seconds: float | None
) -> AsyncGenerator[T | None]:
    """Yield the items of `source`, and None whenever `tick` seconds pass without one.

    Ends with the source, when `stop` is set, or after `seconds`; then `source` is closed.
    """
    loop = asyncio.get_running_loop()
    end = None if seconds is None else loop.time() + seconds
    stopped = asyncio.ensure_future(stop.wait())
    step: asyncio.Task[T] | None = None
    try:
        while not stop.is_set() and (end is None or loop.time() < end):
            step = step or asyncio.ensure_future(_next(source))
            waits = [wait for wait in (tick, end and end - loop.time()) if wait is not None]
            done, _ = await asyncio.wait(
                {step, stopped},
                timeout=max(0, min(waits)) if waits else None,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if step in done:
                try:
                    item = step.result()
                except StopAsyncIteration:
                    return
                step = None
                yield item
            elif not done and tick is not None:
                yield None
    finally:
        pending = [task for task in (stopped, step) if task is not None]
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
        if isinstance(source, AsyncGenerator):
            await source.aclose()


async def _next[T](source: AsyncIterator[T]) -> T:
    return await anext(source)
