"""One registry of many refuses, or hangs: the others are asked at full speed, in virtual time."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from tests.support.fleet.registries import (
    PublishedLimit,
    RegistryRequests,
    RequestSort,
    SimulatedHost,
    drawn,
)
from tests.support.fleet.virtual_time import run_in_virtual_time

from upwell.api.meta import ObjectKey
from upwell.controller import WorkQueue
from upwell.machine.backoff import Backoff
from upwell.registry.budget import RequestBudget
from upwell.registry.errors import RegistryError
from upwell.registry.hosts import DEFAULT_CONCURRENCY

WORKERS, TAGS, TROUBLED = 16, 40, "registry0.test"
HOUR = 3600.0


class HangingHost(SimulatedHost):
    """Answers nothing: each request ends with the time that it may take."""

    __slots__ = ()


@dataclass
class Looks:
    """Looks at the tags of ten registries, by as many workers as imports have."""

    registries: Sequence[SimulatedHost]
    seen: dict[str, float] = field(default_factory=dict)
    """Seconds at which each tag was read, by its key."""

    async def play(self) -> None:
        loop = asyncio.get_running_loop()
        chance = drawn(5)
        budget = RequestBudget(clock=loop.time, jitter=chance.random)
        requests = RegistryRequests(self.registries, budget)
        queue: WorkQueue[ObjectKey] = WorkQueue(Backoff(2.0, 300.0, chance.random))
        queue.expect(WORKERS)
        for tag in range(TAGS):  # those of all registries side by side in each namespace
            for number, _ in enumerate(self.registries):
                queue.add(ObjectKey("ImageStream", f"team{tag % 8}", f"{number}-{tag}"))

        async def work() -> None:
            while True:
                key = await queue.get()
                registry = self.registries[int(key.name.partition("-")[0])]
                try:
                    if isinstance(registry, HangingHost):
                        await self._hang(registry, budget)
                    await requests.ask(registry.name, RequestSort.HEAD)
                except (RegistryError, TimeoutError) as error:
                    queue.retry(key, getattr(error, "retry_after", None) or 0)
                else:
                    self.seen[key.name] = loop.time()
                    queue.forget(key)
                queue.done(key)

        workers = [asyncio.create_task(work()) for _ in range(WORKERS)]
        await asyncio.sleep(HOUR)
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)

    async def _hang(self, registry: SimulatedHost, budget: RequestBudget) -> None:
        await budget.take(registry.name)
        try:
            await asyncio.sleep(registry.latency)
            registry.asked[RequestSort.HEAD] += 1
            budget.observe_silence(registry.name)
            raise TimeoutError
        finally:
            budget.give_back(registry.name)

    def others(self) -> list[float]:
        """Return when the tags of all but the first registry were read."""
        return sorted(at for key, at in self.seen.items() if not key.startswith("0-"))


def looks(first: SimulatedHost) -> Looks:
    others = [SimulatedHost(f"registry{n}.test", (), drawn(n)) for n in range(1, 10)]
    played = Looks([first, *others])
    run_in_virtual_time(played.play())
    return played


@pytest.fixture(scope="module")
def undisturbed() -> list[float]:
    return looks(SimulatedHost(TROUBLED, (), drawn(0))).others()


@pytest.mark.parametrize("says_when", [True, False], ids=["Retry-After", "no Retry-After"])
def test_a_registry_that_answers_429_slows_no_other(
    undisturbed: Sequence[float], *, says_when: bool
) -> None:
    never = PublishedLimit(frozenset(RequestSort), 0, HOUR, retry_after=False)
    registry = SimulatedHost(TROUBLED, (never,), drawn(0))
    if says_when:
        registry.outages = ((0.0, 600.0),)
    played = looks(registry)

    assert len(played.others()) == len(undisturbed) == 9 * TAGS
    assert played.others()[-1] <= undisturbed[-1] + 10 * registry.latency
    pauses = HOUR / 60 / 0.75 + 6  # of a minute at most, a quarter less by chance; shorter at first
    assert registry.asked.total() <= pauses * DEFAULT_CONCURRENCY


def test_a_registry_that_hangs_slows_no_other_for_longer_than_it_takes_to_notice(
    undisturbed: Sequence[float],
) -> None:
    registry = HangingHost(TROUBLED, (), drawn(0), latency=30.0)
    played = looks(registry)

    assert len(played.others()) == len(undisturbed)
    assert played.others()[-1] <= undisturbed[-1] + 2 * registry.latency
