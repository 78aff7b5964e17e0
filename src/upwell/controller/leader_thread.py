"""An election on a thread of its own: a busy event loop neither loses the lease nor outlives it.

What is led runs in the event loop that asks for it; the lease is renewed, and its end noticed, in
another one, with connections of its own. The two share the term, which is read and written as a
whole, and pass each other callbacks.
"""

import asyncio
import contextvars
import logging
import threading
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any

from upwell.controller.leader import LeaderElection, LeaderTerm, boot_seconds

log = logging.getLogger(__name__)

HELD_SECONDS = 60.0
"""A led event loop that takes no turn for so long counts as hung: another replica is to lead."""
_LOOK_SECONDS = 5.0
"""Time between two looks at that loop."""

type Lead = Callable[[LeaderTerm], Coroutine[Any, Any, None]]


class LeaderThread:
    """Runs a LeaderElection on a thread, and what it leads in the caller's event loop."""

    def __init__(
        self,
        election: LeaderElection,
        close: Callable[[], Awaitable[None]],
        *,
        clock: Callable[[], float] = boot_seconds,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`close` closes the connections of the election, which are the thread's alone.

        It is called at each end of the thread; `clock` and `sleep` are those of the election.
        """
        self.election = election
        self._close = close
        self._clock = clock
        self._sleep = sleep

    async def run(self, lead: Lead) -> None:
        """Do as LeaderElection.run; the thread has ended when this returns or raises."""
        here = asyncio.get_running_loop()
        there = asyncio.new_event_loop()
        ended: asyncio.Future[None] = here.create_future()
        stop = asyncio.Event()
        led = _LedLoop(here, lead, self._clock, self._sleep)

        def elect() -> None:
            try:
                with asyncio.Runner(loop_factory=lambda: there) as runner:
                    runner.run(self._elect(led, stop))
            except BaseException as error:  # noqa: BLE001 - it is raised by `run`
                here.call_soon_threadsafe(ended.set_exception, error)
            else:
                here.call_soon_threadsafe(ended.set_result, None)

        thread = threading.Thread(target=elect, name="leader-election", daemon=True)
        thread.start()
        try:
            await asyncio.shield(ended)
        except asyncio.CancelledError:
            there.call_soon_threadsafe(stop.set)
            await _end_of(ended)
            raise
        finally:
            thread.join()  # it has nothing left to do

    async def _elect(self, led: "_LedLoop", stop: asyncio.Event) -> None:
        """Stand for election, in the thread, until told to stop."""
        tasks = [
            asyncio.ensure_future(self.election.run(led.lead)),
            asyncio.ensure_future(stop.wait()),
        ]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            await self._close()
        if not tasks[0].cancelled():
            tasks[0].result()


class _LedLoop:
    """The event loop in which is led, as the thread of the election sees it."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        lead: Lead,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self._loop = loop
        self._lead = lead
        self._clock = clock
        self._sleep = sleep
        self._context = contextvars.copy_context()
        self._work: asyncio.Task[None] | None = None
        """Of that loop alone."""
        self._answered = 0.0
        """Time of its last turn that was asked for."""

    async def lead(self, term: LeaderTerm) -> None:
        """Lead there, and return when that has ended; a cancellation is passed on to it."""
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._answered = self._clock()
        self._call(self._begin, term, ended)
        looking = asyncio.ensure_future(self._watch(term))
        try:
            await asyncio.shield(ended)
        except asyncio.CancelledError:
            self._call(self._cancel)
            await _end_of(ended)
            raise
        finally:
            looking.cancel()

    async def _watch(self, term: LeaderTerm) -> None:
        """End the term once that loop hangs: nobody would do what is led."""
        while True:
            self._call(self._answer)
            await self._sleep(_LOOK_SECONDS)
            if self._clock() - self._answered > HELD_SECONDS:
                log.error("the event loop hangs; leading ends", extra={"seconds": HELD_SECONDS})
                term.end()
                return

    def _call(self, callback: Callable[..., None], *args: object) -> None:
        self._loop.call_soon_threadsafe(callback, *args, context=self._context)

    def _begin(self, term: LeaderTerm, ended: asyncio.Future[None]) -> None:
        there = ended.get_loop()

        def tell(work: asyncio.Task[None]) -> None:
            self._work = None
            error = None if work.cancelled() else work.exception()
            there.call_soon_threadsafe(_settle, ended, error)

        self._work = self._loop.create_task(self._lead(term), context=self._context.copy())
        self._work.add_done_callback(tell)

    def _cancel(self) -> None:
        if self._work is not None:
            self._work.cancel()

    def _answer(self) -> None:
        self._answered = self._clock()


def _settle(ended: asyncio.Future[None], error: BaseException | None) -> None:
    if error is None:
        ended.set_result(None)
    else:
        ended.set_exception(error)


async def _end_of(ended: asyncio.Future[None]) -> None:
    """Wait for an end, however often this is cancelled, and leave its error to who asks for it."""
    while not ended.done():
        with suppress(asyncio.CancelledError):
            await asyncio.wait({ended})
    if (error := ended.exception()) is not None:
        log.warning("ended by a fault", extra={"why": str(error)})
