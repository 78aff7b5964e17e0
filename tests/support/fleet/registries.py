"""Registries with published limits, as far as a client can see them: statuses, headers, outages."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from random import Random

from upwell.builder.interface import LimitedPushError
from upwell.registry.budget import RequestBudget
from upwell.registry.errors import RegistryError, RegistryUnavailableError


def drawn(seed: int) -> Random:
    """Return the chance of a simulation: the same each time."""
    return Random(seed)  # noqa: S311 - nothing is kept secret by it


class RequestSort(StrEnum):
    """Sort of a request, as limits tell them apart."""

    HEAD = "head"
    PULL = "pull"
    """A GET of a manifest."""
    READ = "read"
    WRITE = "write"


_ALL = frozenset(RequestSort)
_READS = _ALL - {RequestSort.WRITE}
_WRITES = frozenset({RequestSort.WRITE})
_PULLS = frozenset({RequestSort.PULL})


@dataclass(frozen=True, slots=True)
class PublishedLimit:
    """So many requests of these sorts in so many seconds; beyond them it answers 429."""

    sorts: frozenset[RequestSort]
    requests: int
    seconds: float
    retry_after: bool = True
    """The 429 says when the time is over."""
    is_told: bool = False
    """Each answer says how many are left (`ratelimit-remaining`)."""


DOCKER_HUB = (
    PublishedLimit(_PULLS, 200, 6 * 3600.0, is_told=True),
    PublishedLimit(_ALL, 3_000, 60.0),
)
"""200 pulls in 6 hours with a free login; thousands of requests a minute for each address."""
QUAY = (PublishedLimit(_ALL, 10, 1.0, retry_after=False),)
"""A few requests a second for each address."""
ACR_BASIC = (PublishedLimit(_READS, 1_000, 60.0), PublishedLimit(_WRITES, 100, 60.0))
ACR_STANDARD = (PublishedLimit(_READS, 3_000, 60.0), PublishedLimit(_WRITES, 500, 60.0))
ACR_PREMIUM = (PublishedLimit(_READS, 10_000, 60.0), PublishedLimit(_WRITES, 2_000, 60.0))
ECR = (PublishedLimit(_READS, 1_000, 1.0), PublishedLimit(_WRITES, 100, 1.0, retry_after=False))
GOOGLE = (PublishedLimit(_ALL, 60_000, 60.0), PublishedLimit(_WRITES, 18_000, 60.0))
GITLAB = (PublishedLimit(_ALL, 2_000, 60.0),)
OWN: tuple[PublishedLimit, ...] = ()
"""Harbor, Artifactory and distribution as they are installed: no limit."""

_MIXTURE = (DOCKER_HUB, QUAY, ACR_BASIC, ACR_STANDARD, ACR_PREMIUM, ECR, GOOGLE, GITLAB, OWN, OWN)


@dataclass(slots=True)
class SimulatedHost:
    """Answers by its limits, and counts."""

    name: str
    limits: Sequence[PublishedLimit]
    chance: Random
    latency: float = 0.05
    """Seconds until an answer."""
    lost: float = 0.0
    """Share of connections that break."""
    outages: Sequence[tuple[float, float]] = ()
    """Times from when to when it answers 503."""
    asked: Counter[RequestSort] = field(default_factory=Counter)
    refused: int = 0
    fullest: float = 0.0
    """Largest share of a limit that was used within its time."""
    _windows: list[tuple[float, int]] = field(default_factory=list)

    def answer(self, sort: RequestSort, now: float) -> tuple[int, dict[str, str]]:
        """Return status and headers of a request that comes now."""
        self.asked[sort] += 1
        if any(begin <= now < end for begin, end in self.outages):
            self.refused += 1
            return 503, {}
        headers: dict[str, str] = {}
        for number, limit in enumerate(self.limits):
            if sort in limit.sorts or limit.is_told:
                status = self._count(number, limit, sort, now, headers)
                if status is not None:
                    self.refused += 1
                    return status, headers
        return 200, headers

    def loses(self) -> bool:
        """Return True if the connection breaks this time."""
        return bool(self.lost) and self.chance.random() < self.lost

    def _count(
        self,
        number: int,
        limit: PublishedLimit,
        sort: RequestSort,
        now: float,
        headers: dict[str, str],
    ) -> int | None:
        while len(self._windows) <= number:
            self._windows.append((now, 0))
        since, count = self._windows[number]
        if now >= since + limit.seconds:
            since, count = now, 0
        if sort in limit.sorts and count >= limit.requests:
            if limit.retry_after:
                headers["retry-after"] = str(int(since + limit.seconds - now) + 1)
            return 429
        count += sort in limit.sorts
        self._windows[number] = (since, count)
        self.fullest = max(self.fullest, count / limit.requests)
        if limit.is_told:
            headers["ratelimit-remaining"] = f"{limit.requests - count};w={limit.seconds:.0f}"
        return None


@dataclass(slots=True)
class StormingHost(SimulatedHost):
    """Answers 429 to everything until its storm ends, with a Retry-After of a minute."""

    ends: float = 0.0
    """Time at which it does, in seconds."""

    def answer(self, sort: RequestSort, now: float) -> tuple[int, dict[str, str]]:
        """Return status and headers of a request that comes now."""
        if now >= self.ends:
            return SimulatedHost.answer(self, sort, now)
        self.refused += 1
        return 429, {"retry-after": "60"}


def thirty_registries(seed: int = 3, *, lost: float = 0.002) -> list[SimulatedHost]:
    """Return three of each sort; the last is away for half an hour, ten minutes after the start."""
    chance = drawn(seed)
    made = [
        SimulatedHost(f"registry{number:02}.test", limits, chance, lost=lost)
        for number, limits in enumerate(_MIXTURE * 3)
    ]
    made[-1].outages = ((600.0, 2400.0),)
    return made


class RegistryRequests:
    """Requests through the budget of the server, as its own client makes them."""

    def __init__(self, registries: Sequence[SimulatedHost], budget: RequestBudget) -> None:
        self._registries = {one.name: one for one in registries}
        self._budget = budget

    async def ask(self, name: str, *sorts: RequestSort) -> None:
        """Make one request after the other; raises RegistryError."""
        registry = self._registries[name]
        for sort in sorts:
            await self._budget.take(name, pull=sort is RequestSort.PULL)
            try:
                await asyncio.sleep(registry.latency)
                now = asyncio.get_running_loop().time()
                refusal = self._budget.observe(name, *registry.answer(sort, now))
            finally:
                self._budget.give_back(name)
            if refusal is not None:
                raise refusal
            if registry.loses():
                raise RegistryUnavailableError(name, "the connection broke")


class PusherRequests:
    """Requests of the program that pushes: it knows no budget, and waits by itself.

    As containers/image does it: five tries after a 429, from 2 s to a minute, or as long as the
    registry says; any other failure ends the push.
    """

    TRIES = 5

    def __init__(self, registries: Sequence[SimulatedHost]) -> None:
        self._registries = {one.name: one for one in registries}
        self.waited = 0.0
        """Seconds spent between tries."""

    async def ask(self, name: str, *rounds: Sequence[RequestSort]) -> None:
        """Make the requests of each round at once, and one round after the other.

        Raises RegistryError, or LimitedPushError for a 429.
        """
        registry = self._registries[name]
        loop = asyncio.get_running_loop()
        pause = 0.0
        for sorts in rounds:
            left = sorts
            for attempt in range(self.TRIES + 1):
                await asyncio.sleep(pause + registry.latency)
                refused, pause = self._refused(registry, left, loop.time(), attempt)
                if not refused:
                    break
                if attempt == self.TRIES:
                    raise LimitedPushError("PushImageToRegistryFailed", name, retryable=True)
                self.waited += pause
                left = refused

    @staticmethod
    def _refused(
        registry: SimulatedHost, sorts: Sequence[RequestSort], now: float, attempt: int
    ) -> tuple[list[RequestSort], float]:
        """Return which of these get a 429, and for how many seconds they wait."""
        refused, pause = [], 0.0
        for sort in sorts:
            status, headers = registry.answer(sort, now)
            if status == 429:
                refused.append(sort)
                stated = float(headers.get("retry-after", 2.0 * 2**attempt))
                pause = max(pause, min(stated, 60.0))
            elif status != 200 or registry.loses():
                raise _failed(registry.name, status)
        return refused, pause


def _failed(name: str, status: int) -> RegistryError:
    why = "the connection broke" if status == 200 else f"HTTP {status}"
    return RegistryUnavailableError(name, why)
