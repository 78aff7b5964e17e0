"""Workloads that two Pipelines name: one of them sets their images."""

import pytest
from tests.support.promotion.reconciled_pipeline import ReconciledPipeline, image

from upwell.api.apps import Deployment
from upwell.api.pipeline import Pipeline
from upwell.store.interface import NotFoundError

WEB = "production-shop"


def workloads() -> list[dict[str, str]]:
    return [{"name": WEB}]


async def shared(*, gated_first: bool) -> ReconciledPipeline:
    """Return Pipelines of one workload: `shop` asks for approval, `quick` does not."""
    made = ReconciledPipeline()
    names = ["shop", "quick"] if gated_first else ["quick", "shop"]
    for name in names:
        stage = {"name": "production", "workloads": workloads()}
        approval = {"approval": {"required": 1}} if name == "shop" else {}
        await made.pipeline(stage | approval, name=name)
        made.clock.advance(1)
    return made


async def waits(made: ReconciledPipeline, name: str) -> str:
    found = await made.store.get(Pipeline, "shop", name)
    return found.status.stage("production").waits_for


async def test_what_one_asks_approval_for_no_other_sets() -> None:
    made = await shared(gated_first=True)
    for stream in ("shop", "quick"):
        await made.push(stream, stream)
    await made.settle()
    assert await made.running(WEB) == " "
    assert "belongs to stage production of Pipeline shop/shop" in await waits(made, "quick")
    assert "approval" in await waits(made, "shop")


async def test_an_older_pipeline_takes_no_workload_that_another_has_set() -> None:
    made = await shared(gated_first=False)
    quick = await made.store.get(Pipeline, "shop", "quick")
    await made.store.delete(Pipeline, "shop", "quick")
    await made.push("good", "shop")
    await made.settle()
    shop = await made.store.get(Pipeline, "shop", "shop")
    open_spec = shop.spec.stages[0].model_copy(update={"approval": None})
    await made.store.update(
        shop.model_copy(update={"spec": shop.spec.model_copy(update={"stages": (open_spec,)})})
    )
    await made.settle()
    assert await made.running(WEB) == image("good")

    age = quick.metadata.model_copy(update={"uid": None, "resource_version": None})
    made.clock.time = quick.metadata.creation_timestamp or made.clock.time
    await made.store.create(quick.model_copy(update={"metadata": age}))
    await made.push("bad", "quick")
    await made.settle()
    assert await made.running(WEB) == image("good")
    assert "belongs to" in await waits(made, "quick")


async def test_the_other_goes_on_when_the_workload_is_let_go() -> None:
    made = await shared(gated_first=True)
    await made.push("new", "quick")
    await made.settle()
    assert await made.running(WEB) == " "
    await made.store.delete(Pipeline, "shop", "shop")
    await made.settle()
    assert await made.running(WEB) == image("new")


async def test_what_has_begun_sets_nothing_that_is_anothers() -> None:
    made = await shared(gated_first=True)
    gated = await made.store.get(Pipeline, "shop", "shop")
    await made.store.delete(Pipeline, "shop", "shop")
    await made.push("new", "quick")
    with pytest.raises(NotFoundError):
        await made.promotion("quick-1.production")
    made.slow = True
    for _ in range(4):
        for one in (await made.store.list(Pipeline)).items:
            await made.pipelines.reconcile(one.key)
    assert (await made.phases())["quick-1.production"] == "RollingOut"
    fresh = gated.metadata.model_copy(update={"uid": None, "resource_version": None})
    made.clock.time = gated.metadata.creation_timestamp or made.clock.time
    await made.store.create(gated.model_copy(update={"metadata": fresh}))
    web = await made.store.get(Deployment, "shop", WEB)
    note = '{"pipeline": "shop/shop"}'
    await made.store.update(web.with_metadata(annotations={"upwell.dev/promoted": note}))
    await made.settle()
    assert await made.running(WEB) == " "
    message = (await made.promotion("quick-1.production")).status.message
    assert "belongs to stage production of Pipeline shop/shop" in message
