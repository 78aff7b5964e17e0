"""Supervises the service of Podman's API: one that ends or hangs is started anew."""

import asyncio

from upwell.machine.clock import until_tick
from upwell.workload.errors import RuntimeUnavailableError
from upwell.workload.podman.api.faults import FaultPlace, RuntimeFaults
from upwell.workload.podman.api.service import PodmanService

_PING_PERIOD = 1.0
_PING_SECONDS = 0.6
_LATE_SECONDS = 0.25
"""Excess of a ping over its time from which on this process had no time itself."""
_MISS_PAUSE = 0.1
_REPORTED_MISSES = 2
_MISSES = 3
"""Pings in a row without an answer, after which a service that does nothing has to go."""
_MISSES_AT_WORK = 15
"""The same for one that has work to do: on a busy machine an answer takes its time."""


class ServiceSupervisor:
    """Keeps a service running and answering, and reports when it does not."""

    def __init__(self, service: PodmanService, faults: RuntimeFaults) -> None:
        self._service = service
        self._faults = faults

    async def run(self) -> None:
        """Supervise until cancelled."""
        starts = self._service.starts
        while True:
            try:
                await self._service.ensure()
            except RuntimeUnavailableError as error:
                self._faults.report(FaultPlace.SERVICE, "ServiceNotStarted", str(error))
                await asyncio.sleep(self._service.retry_in())
                continue
            if starts and self._service.starts > starts:
                self._faults.component.count_restart()
            starts = self._service.starts
            self._faults.clear(FaultPlace.SERVICE)
            await self._until_lost()

    async def _until_lost(self) -> None:
        """Return when the service has ended; one that hangs is killed."""
        ending = asyncio.ensure_future(self._service.ended())
        misses, killed = 0, False
        try:
            while not ending.done():
                why = await self._fault_of_answer()
                if why == "":
                    misses = 0
                    self._faults.clear(FaultPlace.SERVICE)
                elif why is not None and not ending.done():
                    misses += 1
                    killed = await self._judge(misses, why)
                pause = _MISS_PAUSE if misses else until_tick(_PING_PERIOD)
                await asyncio.wait([ending], timeout=pause)
            if not killed:
                message = f"{ending.result()}; it is started anew"
                self._faults.report(FaultPlace.SERVICE, "ServiceEnded", message)
        finally:
            ending.cancel()

    async def _fault_of_answer(self) -> str | None:
        """Say why the service does not answer; empty: it does; None: this process cannot see it."""
        loop = asyncio.get_running_loop()
        asked = loop.time()
        try:
            why = await self._service.fault_of_answer(_PING_SECONDS)
        except RuntimeUnavailableError:
            return None
        late = loop.time() - asked > _PING_SECONDS + _LATE_SECONDS
        return None if late and why else why

    async def _judge(self, misses: int, why: str) -> bool:
        """Report a service that does not answer; kill it, and return True, when it hangs."""
        if misses >= _REPORTED_MISSES:
            message = f"Podman's service does not answer ({why}): started anew if that goes on"
            self._faults.report(FaultPlace.SERVICE, "ServiceNotAnswering", message)
        hangs = misses >= (_MISSES_AT_WORK if self._service.is_at_work() else _MISSES)
        if hangs:
            await self._service.kill()
        return hangs
