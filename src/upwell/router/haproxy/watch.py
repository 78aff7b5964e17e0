"""Notices within two seconds that HAProxy has ended or hangs, and ends what hangs."""

import asyncio
import logging
import signal
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import suppress
from dataclasses import dataclass

from upwell.machine.clock import until_tick
from upwell.machine.components import WatchedComponent
from upwell.machine.processes import ProcessWatch
from upwell.router.haproxy.cli import HaproxyCli
from upwell.router.haproxy.liveness import Answer, Remedy, next_remedy
from upwell.router.haproxy.processes import HaproxyProcess, HaproxyProcesses
from upwell.router.interface import RouterUnavailableError

_log = logging.getLogger(__name__)

_PERIOD_SECONDS = 1.0
"""Between questions while all is well; the end of a process is noticed at once."""
_AGAIN_SECONDS = 0.25
_ANSWER_SECONDS = 1.0

_FAULTS = {
    Remedy.CONTINUE: ("RouterStopped", "haproxy was stopped by a signal; it is continued"),
    Remedy.START: ("RouterDown", "haproxy has ended; it is started again"),
    Remedy.REPLACE: ("RouterUnreachable", "the control socket of haproxy is gone; it is replaced"),
    Remedy.KILL: ("RouterHung", "haproxy does not answer; it was killed and is started again"),
}


@dataclass(slots=True)
class RouterExpectations:
    """Expectations of the running router, which each table sets anew."""

    running: bool = False
    applied: int = 0
    """Count of tables that came into force: what ends after one is another outage."""
    loading: Callable[[], bool] = bool
    """True while a table is being applied."""
    is_settled: Callable[[], bool] = lambda: True
    """False once a fault that the last table met may have passed: an address is free again, say."""


class HaproxyWatch:
    """Asks master and worker by one question, and follows their ends by the kernel."""

    def __init__(
        self,
        cli: HaproxyCli,
        processes: HaproxyProcesses,
        expected: RouterExpectations,
        component: WatchedComponent,
    ) -> None:
        self._cli = cli
        self._processes = processes
        self._expected = expected
        self._component = component
        self._ended = asyncio.Event()
        self._followed = ProcessWatch(self._ended.set)
        self._misses = 0
        self._told: int | None = None
        """Count of tables at the outage that was told: it is told once, and the next again."""

    async def disruptions(self) -> AsyncIterator[str]:
        """Yield why the table has to be applied anew, once for each outage, for ever."""
        try:
            while True:
                pause = _AGAIN_SECONDS if self._misses else until_tick(_PERIOD_SECONDS)
                await self._pause(pause)
                if self._expected.running and (why := await self._look_safely()):
                    yield why
        finally:
            self._followed.close()

    async def _pause(self, seconds: float) -> None:
        """Return when a process has ended, or after so many seconds."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._ended.wait()
        self._ended.clear()

    async def _look_safely(self) -> str:
        try:
            return await self._look()
        except Exception:  # noqa: BLE001 - too many open files, say: it must not end the watch
            _log.exception("router not looked at")
            return ""

    async def _look(self) -> str:
        """Ask once, act upon the answer, and return what is to be told."""
        answer = await self._ask()
        if answer is Answer.GOOD:
            self._misses, self._told = 0, None
            return (
                ""
                if self._expected.is_settled()
                else "a fault that the last table met may have passed"
            )
        self._misses += 1
        loading = self._expected.loading()
        processes = await self._processes.find()
        remedy = next_remedy(answer, processes, self._misses, loading=loading)
        if remedy is Remedy.WAIT:
            return ""
        return await self._act(remedy, processes)

    async def _act(self, remedy: Remedy, processes: Collection[HaproxyProcess]) -> str:
        is_news = self._told != self._expected.applied
        match remedy:
            case Remedy.CONTINUE:
                stopped = [one for one in processes if one.stopped]
                self._processes.signal(stopped, signal.SIGCONT)
            case Remedy.KILL:
                await self._processes.end(processes)
                is_news = True
        if not is_news:
            return ""
        self._told = self._expected.applied
        reason, message = _FAULTS[remedy]
        self._component.fail(reason, message)
        return message

    async def _ask(self) -> Answer:
        try:
            self._followed.follow(frozenset(await self._cli.ping(_ANSWER_SECONDS)))
        except RouterUnavailableError:
            return Answer.REFUSED
        except TimeoutError:
            return Answer.SILENT
        return Answer.GOOD
