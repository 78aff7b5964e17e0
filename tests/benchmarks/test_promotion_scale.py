"""Cost of promotions among a thousand Pipelines, when rollouts and checks end at once.

Run with `pytest -m benchmark -s tests/benchmarks/test_promotion_scale.py`.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from statistics import median

import pytest
from tests.support.benchmarks.bare_work import loop_seconds
from tests.support.benchmarks.ratios import Ratios
from tests.support.promotion.reconciled_pipeline import ReconciledPipeline

from upwell.api.apps import Deployment
from upwell.api.meta import ObjectKey
from upwell.api.promotion import Release, ReleasePhase
from upwell.controller import Controller, Result, Watch
from upwell.reconcilers.promotion.wiring import pipeline_controller, promotion_controller
from upwell.reconcilers.rollouts.index import WorkloadIndex
from upwell.reconcilers.rollouts.triggers import workload_trigger_controller
from upwell.store.interface import NotFoundError

pytestmark = pytest.mark.benchmark

FEW, MANY = 10, 1000
STAGES = ("dev", "staging", "live")
TIMES = 25


class PipelinesAtScale:
    """Pipelines of three stages with a Deployment in each, and the controllers that promote."""

    def __init__(self, pipelines: int) -> None:
        self.line = ReconciledPipeline()
        self.names = [f"app{number}" for number in range(pipelines)]
        self._releases = Counter[str]()
        self._waited: set[str] = set()
        self._ended = asyncio.Event()

    async def reconcile(self, key: ObjectKey) -> Result:
        """Complete the rollout of a Deployment."""
        try:
            found = await self.line.store.get(Deployment, key.namespace, key.name)
        except NotFoundError:
            return Result()
        await self.line.roll_out(found)
        return Result()

    def _look(self, _before: Release | None, release: Release | None) -> Iterable[ObjectKey]:
        if release is not None and release.status.phase is ReleasePhase.PROMOTED:
            self._waited.discard(release.name)
        if not self._waited:
            self._ended.set()
        return ()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run everything; each Pipeline has one Release in all of its stages."""
        for name in self.names:
            await self.line.pipeline(*({"name": stage} for stage in STAGES), name=name)
        builds, clock = self.line.builds, self.line.clock
        index, cache = WorkloadIndex(builds.cache), builds.cache
        controllers = (
            pipeline_controller(index, builds, clock),
            promotion_controller(index, self.line.promotions),
            workload_trigger_controller(index, clock),
            Controller("bench", self, cache, (Watch(Deployment), Watch(Release, self._look))),
        )
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one.run()) for one in (cache, *controllers)]
            await self.promote(self.names)
            yield
            for task in tasks:
                task.cancel()

    async def promote(self, names: Sequence[str]) -> tuple[float, float]:
        """Push an image for these Pipelines; return the seconds, and those of the processor.

        They end when its Releases have gone through all stages.
        """
        self._releases.update(names)
        self.line.clock.advance(1)
        self._waited = {f"{name}-{self._releases[name]}" for name in names}
        self._ended.clear()
        began, used = time.perf_counter(), time.process_time()
        for name in names:
            await self.line.push(f"{name}:{self._releases[name]}", name)
        await self._ended.wait()
        return time.perf_counter() - began, time.process_time() - used


async def _alone(pipelines: int) -> float:
    """Return the median of the processor's seconds for one Release among so many Pipelines."""
    setup = PipelinesAtScale(pipelines)
    async with setup.running():
        return median([(await setup.promote(["app0"]))[1] for _ in range(TIMES)])


async def test_one_release_costs_the_same_among_many_pipelines(ratios: Ratios) -> None:
    few, many = await _alone(FEW), await _alone(MANY)
    print(  # noqa: T201
        f"\none Release through {len(STAGES)} stages: {1000 * few:.1f} ms among {FEW} Pipelines,"
        f" {1000 * many:.1f} ms among {MANY}: ratio {many / few:.2f}"
    )
    ratios.note_cost("a Release among 1,000 Pipelines and among 10", many / few)
    ratios.note_cost("a Release through three stages, bare loop", few / loop_seconds())
    assert many / few < 3, "a promotion must cost what it concerns, not what there is"


async def test_one_base_change_goes_through_all_pipelines(ratios: Ratios) -> None:
    costs = {}
    for pipelines in (FEW, MANY):
        setup = PipelinesAtScale(pipelines)
        async with setup.running():
            seconds, processor = await setup.promote(setup.names)
        count = pipelines * len(STAGES)
        costs[pipelines] = processor / count
        print(  # noqa: T201
            f"\n{pipelines} Releases, {count} promotions: {seconds:.1f} s,"
            f" {1000 * processor / count:.2f} ms of processor for each promotion"
        )
    ratios.note_cost("promotions of a base, of 1,000 Pipelines and of 10", costs[MANY] / costs[FEW])
    assert costs[MANY] / costs[FEW] < 3, "a promotion must cost what it concerns"
