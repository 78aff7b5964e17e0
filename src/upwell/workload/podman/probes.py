"""Readiness and liveness probes (core/v1 Probe): counting is pure, asking is here too."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import aiohttp

from upwell.machine.clock import Clock
from upwell.machine.sockets.connecting import connection_failure
from upwell.workload.errors import RuntimeUnavailableError, WorkloadError
from upwell.workload.instance_spec import ExecProbe, HttpProbe, ProbeSpec, TcpProbe
from upwell.workload.podman.api.connection import PodmanRefusedError

_OK = range(200, 400)
_EAGER_SECONDS = 0.25
_MAX_COMPLAINT_CHARACTERS = 500


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """One answer to a probe; `complaint` says why it is not a success."""

    success: bool
    complaint: str = ""
    conclusive: bool = True
    """False: the runtime could not ask, which says nothing about the container."""


@dataclass(slots=True)
class ProbeCounter:
    """Counts outcomes against the thresholds; pure."""

    probe: ProbeSpec
    passing: bool
    successes: int = 0
    failures: int = 0
    ever_succeeded: bool = False

    def count(self, *, success: bool) -> bool:
        """Take one outcome into account and say whether `passing` turned."""
        self.successes = self.successes + 1 if success else 0
        self.failures = 0 if success else self.failures + 1
        self.ever_succeeded = self.ever_succeeded or success
        enough = (
            self.failures >= self.probe.failure_threshold
            if self.passing
            else self.successes >= self.probe.success_threshold
        )
        if enough:
            self.passing = not self.passing
        return enough

    def pause(self) -> float:
        """Return the seconds until the next attempt.

        Until the first success nothing depends on failures being counted slowly, and a rollout
        waits for every one of these seconds: ask more often than the period.
        """
        if self.passing or self.ever_succeeded:
            return self.probe.period
        return min(self.probe.period, _EAGER_SECONDS)


type Attempt = Callable[[], Awaitable[ProbeResult]]


async def watch(
    counter: ProbeCounter,
    attempt: Attempt,
    turned: Callable[[ProbeResult], Awaitable[None]],
    clock: Clock,
) -> None:
    """Attempt for ever, and call `turned` whenever `counter.passing` turns."""
    while True:
        outcome = await attempt()
        if outcome.conclusive and counter.count(success=outcome.success):
            await turned(outcome)
        await clock.sleep(counter.pause())


type Execute = Callable[[tuple[str, ...]], Awaitable[tuple[int, bytes]]]


class ProbeClient:
    """Asks containers, as the kubelet does: one connection for each attempt, no redirects."""

    def __init__(self) -> None:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, force_close=True, ssl=False),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": "upwell-probe"},
        )

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()

    async def attempt(self, probe: ProbeSpec, address: str, execute: Execute) -> ProbeResult:
        """Ask once; a failure of any kind is an outcome, not an exception."""
        try:
            async with asyncio.timeout(probe.timeout):
                match probe.check:
                    case HttpProbe():
                        return await self._get(probe.check, address)
                    case TcpProbe(port=port):
                        _, writer = await asyncio.open_connection(address, port)
                        writer.close()
                        return ProbeResult(success=True)
                    case ExecProbe(command=command):
                        return _exit(*await execute(command))
        except TimeoutError:
            return ProbeResult(success=False, complaint=f"no answer within {probe.timeout:g} s")
        except (OSError, aiohttp.ClientError, WorkloadError) as error:
            return _failure(error, probe, address)

    async def _get(self, check: HttpProbe, address: str) -> ProbeResult:
        host = f"[{address}]" if ":" in address else address
        url = f"{check.scheme.lower()}://{host}:{check.port}/{check.path.removeprefix('/')}"
        request = self._session.get(url, headers=list(check.headers), allow_redirects=False)
        async with request as response:
            if response.status in _OK:
                return ProbeResult(success=True)
            return ProbeResult(success=False, complaint=f"{check.path} answered {response.status}")


def _failure(error: Exception, probe: ProbeSpec, address: str) -> ProbeResult:
    match error, probe.check:
        case (aiohttp.ClientConnectorError(), HttpProbe(port=port)):
            complaint = connection_failure(address, port, error.os_error)
        case (OSError(), TcpProbe(port=port)):
            complaint = connection_failure(address, port, error)
        case _:
            complaint = str(error)[:_MAX_COMPLAINT_CHARACTERS] or type(error).__name__
    # What Podman refuses is the container's fault: there is no such command in it, say.
    refused = isinstance(error, PodmanRefusedError)
    conclusive = refused or not isinstance(error, RuntimeUnavailableError)
    return ProbeResult(success=False, complaint=complaint, conclusive=conclusive)


def _exit(code: int, output: bytes) -> ProbeResult:
    if code == 0:
        return ProbeResult(success=True)
    text = output.decode(errors="replace").strip()[:_MAX_COMPLAINT_CHARACTERS]
    return ProbeResult(success=False, complaint=f"exit code {code}: {text}")
