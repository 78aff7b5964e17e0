"""Rollouts of promotions that take turns: so many at once into stages of one name."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

import pytest
from tests.support.builds.memory_builds import until
from tests.support.promotion.reconciled_pipeline import NAMESPACE, ReconciledPipeline

from upwell.api.meta import ObjectMeta
from upwell.api.pipeline import Pipeline
from upwell.api.promotion import Promotion, PromotionPhase, PromotionSpec, Release
from upwell.controller import ObjectCache
from upwell.policy.promotion.stages import with_hold
from upwell.reconcilers.promotion.turns import PromotionTurns

NAMES = ("one", "two", "three")


@pytest.fixture
async def setup() -> AsyncIterator[ReconciledPipeline]:
    """Three Pipelines with a stage of one name, in which one rollout goes on at a time."""
    setup = ReconciledPipeline()
    cache = ObjectCache(setup.store)
    setup.turns = PromotionTurns(cache, setup.clock, per_stage=1)
    setup.restart()
    following = asyncio.create_task(cache.run())
    await cache.ready(Promotion)
    for name in NAMES:
        await setup.pipeline({"name": "dev"}, name=name)
        await setup.push(f"{name}-1", name)
    setup.slow = True
    yield setup
    following.cancel()
    await asyncio.wait([following])


async def counted(setup: ReconciledPipeline) -> Counter[str]:
    await setup.settle()
    return Counter((await setup.phases()).values())


async def until_counted(setup: ReconciledPipeline, **expected: int) -> None:
    async def holds() -> bool:
        found = await counted(setup)
        assert found["RollingOut"] <= 1, found
        return found == Counter(expected)

    await until(holds)


async def test_one_rollout_after_the_other_until_all_have_had_their_turn(
    setup: ReconciledPipeline,
) -> None:
    await until_counted(setup, RollingOut=1, Waiting=2)
    waiting = [
        one.status.message or ""
        for one in (await setup.store.list(Promotion)).items
        if one.status.phase is PromotionPhase.WAITING
    ]
    assert all("1 of 1 rollouts into stages dev are under way" in one for one in waiting)
    setup.slow = False
    await until_counted(setup, Succeeded=3)


async def waiting_pipelines(setup: ReconciledPipeline) -> list[Pipeline]:
    """Return the Pipelines that wait, the one that is first in turn first."""
    promotions = (await setup.store.list(Promotion)).items
    waiting = {
        one.spec.pipeline: one.status.message or ""
        for one in promotions
        if one.status.phase is PromotionPhase.WAITING
    }
    first = sorted(waiting, key=lambda name: waiting[name])
    return [await setup.store.get(Pipeline, NAMESPACE, name) for name in first]


async def test_who_waits_for_something_else_by_now_keeps_nobody_waiting(
    setup: ReconciledPipeline,
) -> None:
    await until_counted(setup, RollingOut=1, Waiting=2)
    first, _ = await waiting_pipelines(setup)
    await setup.store.update(with_hold(first, "dev", "not today"))
    setup.slow = False
    await until_counted(setup, Succeeded=2, Waiting=1)


async def test_a_pipeline_that_is_gone_keeps_nobody_waiting(setup: ReconciledPipeline) -> None:
    await until_counted(setup, RollingOut=1, Waiting=2)
    first, _ = await waiting_pipelines(setup)
    await setup.store.delete(Pipeline, NAMESPACE, first.name)
    await setup.pipelines.reconcile(first.key)
    setup.slow = False
    await until_counted(setup, Succeeded=2)


async def test_a_rollout_that_has_ended_before_it_was_seen_gives_its_turn_back(
    setup: ReconciledPipeline,
) -> None:
    assert setup.turns is not None
    setup.slow = False
    await until_counted(setup, Succeeded=3)
    ended = (await setup.store.list(Promotion)).items[0]
    other = next(one for one in NAMES if one != ended.spec.pipeline)
    pipeline = await setup.store.get(Pipeline, NAMESPACE, other)
    setup.turns.decided(ended.key, [ended], ())
    assert setup.turns.busy(pipeline) == {}


async def test_who_asks_for_a_promotion_waits_for_no_turn(setup: ReconciledPipeline) -> None:
    await until_counted(setup, RollingOut=1, Waiting=2)
    waiting = next(
        one
        for one in (await setup.store.list(Promotion)).items
        if one.status.phase is PromotionPhase.WAITING
    )
    release = await setup.store.get(Release, NAMESPACE, waiting.spec.release)
    await setup.store.create(
        Promotion(
            metadata=ObjectMeta(name="by-hand", namespace=NAMESPACE, labels=dict(waiting.labels)),
            spec=PromotionSpec(
                pipeline=waiting.spec.pipeline,
                release=release.name,
                stage="dev",
                requested_by="ann",
            ),
        )
    )
    assert (await counted(setup))["RollingOut"] == 2
