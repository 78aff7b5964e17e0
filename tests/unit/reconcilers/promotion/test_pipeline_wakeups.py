"""Changes of workloads that wake their Pipeline, and those of which it reads nothing."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest
from tests.support.promotion.reconciled_pipeline import NAMESPACE, ReconciledPipeline

from upwell.api.apps import Deployment
from upwell.api.conditions import set_condition
from upwell.api.meta import Condition, ObjectKey
from upwell.api.pipeline import Pipeline
from upwell.controller import Controller
from upwell.policy.rollouts.report import AVAILABLE, DRIFTED
from upwell.policy.rollouts.triggers import HOLD_ANNOTATION
from upwell.reconcilers.promotion.wiring import pipeline_controller
from upwell.reconcilers.rollouts.index import WorkloadIndex

PIPELINE = ObjectKey("Pipeline", NAMESPACE, "shop")


@dataclass
class WatchedPipeline:
    """A settled Pipeline, whose controller is told of changes and does nothing by itself."""

    line: ReconciledPipeline
    controller: Controller

    async def told(self) -> bool:
        """Tell the controller of what has changed; return True if there is work for it."""
        await self.line.builds.cache.ready(Pipeline, Deployment)
        found = len(self.controller.queue) > 0
        while self.controller.queue:
            self.controller.queue.done(await self.controller.queue.get())
        return found

    async def change(self, changed: Callable[[Deployment], Deployment]) -> None:
        """Write the Deployment of its first stage, metadata and spec, then the status."""
        before = await self.line.store.get(Deployment, NAMESPACE, "dev-shop")
        wanted = changed(before)
        written = await self.line.store.update(wanted)
        await self.line.store.update_status(written.with_status(wanted.status))


@pytest.fixture
async def watched() -> WatchedPipeline:
    line = ReconciledPipeline()
    await line.pipeline({"name": "dev"})
    await line.push("one")
    await line.settle()
    index = WorkloadIndex(line.builds.cache)
    found = WatchedPipeline(line, pipeline_controller(index, line.builds, line.clock))
    assert await found.told(), "it is looked at once at the start"
    return found


def with_condition(kind: str) -> Callable[[Deployment], Deployment]:
    def changed(one: Deployment) -> Deployment:
        condition = Condition(type=kind, status="True", reason="Test", message="it is so")
        conditions = set_condition(one.status.conditions, condition, datetime.now(UTC))
        return one.with_status(one.status.model_copy(update={"conditions": conditions}))

    return changed


def with_ready(one: Deployment) -> Deployment:
    return one.with_status(one.status.model_copy(update={"ready_replicas": 7}))


def with_hold(one: Deployment) -> Deployment:
    return one.with_metadata(annotations={**one.annotations, HOLD_ANNOTATION: "a freeze"})


def with_label(one: Deployment) -> Deployment:
    return one.with_metadata(labels={"app": "other"})


def with_replicas(one: Deployment) -> Deployment:
    return one.model_copy(update={"spec": one.spec.model_copy(update={"replicas": 3})})


@pytest.mark.parametrize("changed", [with_condition(DRIFTED), with_hold, with_label, with_replicas])
async def test_what_a_pipeline_reads_of_a_workload_wakes_it(
    watched: WatchedPipeline, changed: Callable[[Deployment], Deployment]
) -> None:
    await watched.change(changed)
    assert await watched.told()


@pytest.mark.parametrize("changed", [with_ready, with_condition(AVAILABLE)])
async def test_a_status_that_it_does_not_read_wakes_no_pipeline_and_would_change_nothing(
    watched: WatchedPipeline, changed: Callable[[Deployment], Deployment]
) -> None:
    await watched.change(changed)
    assert not await watched.told()
    store = watched.line.store
    before = (await store.list(Pipeline)).resource_version
    await watched.line.pipelines.reconcile(PIPELINE)
    assert (await store.list(Pipeline)).resource_version == before, "the store's last write"
