"""Keys that a change of a stream, a workload or a Pipeline concerns."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tests.support.rollouts.memory_machine import MemoryClock, RolloutSetup

from upwell.api.apps import Deployment, DeploymentConfig, RevisionRecord
from upwell.api.codec import decode_as
from upwell.api.meta import ObjectKey, Resource
from upwell.api.pipeline import Pipeline, PipelineStatus
from upwell.api.promotion import Promotion, PromotionPhase, Release
from upwell.controller import ObjectCache
from upwell.policy.images.streams import StreamName
from upwell.policy.rollouts.pod_template import CONFIG_MAP, SECRET, SourceName
from upwell.reconcilers.rollouts import RolloutPorts
from upwell.reconcilers.rollouts.index import WorkloadIndex
from upwell.reconcilers.rollouts.triggers import workload_trigger_controller
from upwell.reconcilers.routing.reconciler import routing_controller
from upwell.store.memory import MemoryStore

TRIGGERS = "image.openshift.io/triggers"


def workload(
    name: str, follows: str = "", kind: type[Resource] = Deployment, **labels: str
) -> Resource:
    entry = (
        f'[{{"from": {{"kind": "ImageStreamTag", "name": "{follows}"}},'
        ' "fieldPath": "spec.template.spec.containers[0].image"}]'
    )
    document = {
        "metadata": {
            "name": name,
            "namespace": "shop",
            "labels": labels,
            "annotations": {TRIGGERS: entry} if follows else {},
        },
        "spec": {"template": {"spec": {"containers": [{"name": "web", "image": " "}]}}},
    }
    return decode_as(kind, document)


def using(name: str, secret: str) -> Deployment:
    """Return a Deployment whose template names a Secret."""
    source = [{"secretRef": {"name": secret}}]
    containers = [{"name": "web", "image": " ", "envFrom": source}]
    document = {
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {"template": {"spec": {"containers": containers}}},
    }
    return decode_as(Deployment, document)


def record(deployment: Deployment) -> RevisionRecord:
    template = deployment.spec.template
    return RevisionRecord(revision=1, hash="a", template=template, created=MemoryClock()())


def pipeline(name: str, *workloads: dict[str, Any], **stage: Any) -> Pipeline:
    source = {"name": "web", "from": {"kind": "ImageStreamTag", "name": f"{name}:latest"}}
    stages = [{"name": "dev", "namespace": "shop", "workloads": list(workloads), **stage}]
    document = {
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {"components": [source], "stages": stages},
    }
    return decode_as(Pipeline, document)


def promotion(name: str, **spec: str) -> Promotion:
    return decode_as(Promotion, {"metadata": {"name": name, "namespace": "shop"}, "spec": spec})


@pytest.fixture
async def index() -> WorkloadIndex:
    return WorkloadIndex(ObjectCache(MemoryStore(MemoryClock())))


async def fill(index: WorkloadIndex, *resources: Resource) -> None:
    for resource in resources:
        await index.cache.store.create(resource)
    await index.ready()


async def test_a_stream_concerns_the_workloads_that_follow_it(index: WorkloadIndex) -> None:
    await fill(index, workload("web", "app:latest"), workload("other", "other:latest"))
    assert [str(key) for key in index.followers(StreamName("shop", "app"))] == [
        "Deployment shop/web"
    ]
    assert list(index.followers(StreamName("elsewhere", "app"))) == []


async def test_a_secret_concerns_the_workloads_whose_templates_name_it(
    index: WorkloadIndex,
) -> None:
    await fill(index, using("web", "login"), using("other", "token"), workload("plain"))
    assert [str(key) for key in index.users_of("shop", SourceName(SECRET, "login"))] == [
        "Deployment shop/web"
    ]
    assert list(index.users_of("shop", SourceName(CONFIG_MAP, "login"))) == []
    assert list(index.users_of("elsewhere", SourceName(SECRET, "login"))) == []


async def test_the_router_is_asked_when_a_workload_changes_what_it_serves(
    index: WorkloadIndex,
) -> None:
    setup = RolloutSetup()
    machine = RolloutPorts(setup.runtime, setup.router, setup.traffic)
    router = routing_controller(index.cache, machine, setup.clock)

    async def asked() -> bool:
        await index.ready()
        if not len(router.queue):
            return False
        router.queue.done(await router.queue.get())
        return True

    created = await index.cache.store.create(using("web", "login"))
    assert await asked()
    counted = created.status.model_copy(update={"replicas": 1})
    one = await index.cache.store.update_status(created.with_status(counted))
    assert not await asked()
    begun = counted.model_copy(update={"revisions": (record(one),)})
    one = await index.cache.store.update_status(one.with_status(begun))
    assert await asked()
    labelled = one.spec.template.metadata.model_copy(update={"labels": {"app": "web"}})
    template = one.spec.template.model_copy(update={"metadata": labelled})
    spec = one.spec.model_copy(update={"template": template})
    await index.cache.store.update(one.model_copy(update={"spec": spec}))
    assert await asked()
    await index.cache.store.delete(Deployment, "shop", "web")
    assert await asked()


async def test_a_pipeline_has_its_workloads_by_name_and_by_labels(index: WorkloadIndex) -> None:
    chosen = {"selector": {"matchLabels": {"app": "shop"}}}
    named = pipeline("one", {"name": "web"}, {"name": "later"})
    selecting = pipeline("two", chosen)
    web = workload("web")
    labelled = workload("any", "", app="shop")
    other_kind = workload("config", "", DeploymentConfig, app="shop")
    await fill(index, named, selecting, web, labelled, other_kind)

    def names(of: Resource) -> list[str]:
        return [f"{found.name}/{stage.name}" for found, stage in index.stages_of(of)]

    assert (names(web), names(labelled), names(other_kind)) == (["one/dev"], ["two/dev"], [])
    assert {str(key) for key in index.workloads_of(named)} == {
        "Deployment shop/web",
        "Deployment shop/later",
    }
    assert ObjectKey("Deployment", "shop", "any") in set(index.workloads_of(selecting))


async def test_pipelines_are_found_by_component_and_by_what_they_wait_for(
    index: WorkloadIndex,
) -> None:
    waiting, other = pipeline("shop"), pipeline("gate")
    await fill(index, waiting, other)
    assert {key.name for key in index.pipelines()} == {"shop", "gate"}
    assert [key.name for key in index.pipelines_with(StreamName("shop", "gate"))] == ["gate"]
    assert list(index.coalescing()) == []
    stored = await index.cache.store.get(Pipeline, "shop", "shop")
    since = PipelineStatus(coalescing_since=MemoryClock()())
    await index.cache.store.update_status(stored.with_status(since))
    await index.ready()
    assert [key.name for key in index.coalescing()] == ["shop"]


async def test_only_promotions_that_have_not_ended_are_under_way(index: WorkloadIndex) -> None:
    line = pipeline("shop", {"name": "web"})
    going = promotion("shop-1.dev", pipeline="shop", release="shop-1", stage="dev")
    ended = promotion("shop-0.dev", pipeline="shop", release="shop-0", stage="dev")
    await fill(index, line, going, ended)
    stored = await index.cache.store.get(Promotion, "shop", "shop-0.dev")
    over = stored.status.model_copy(update={"phase": PromotionPhase.SUCCEEDED})
    await index.cache.store.update_status(stored.with_status(over))
    await index.ready()
    (stage,) = line.spec.stages
    assert [key.name for key in index.under_way(line, stage)] == ["shop-1.dev"]
    released = {"metadata": {"name": "shop-0", "namespace": "shop"}}
    assert list(index.promotions_of(decode_as(Release, released))) == []


@asynccontextmanager
async def triggers_run(index: WorkloadIndex) -> AsyncIterator[None]:
    controller = workload_trigger_controller(index, MemoryClock())
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one.run()) for one in (index.cache, controller)]
        yield
        for task in tasks:
            task.cancel()


async def told(index: WorkloadIndex, name: str, reason: str) -> None:
    """Wait until a Deployment's condition has a reason."""
    async with asyncio.timeout(30):
        async for event in index.cache.store.watch(Deployment):
            conditions = event.resource.status.conditions
            if event.resource.name == name and any(one.reason == reason for one in conditions):
                return


async def test_a_pipeline_sets_triggers_aside_and_gives_them_back(index: WorkloadIndex) -> None:
    await fill(index, workload("web", "app:latest"))
    async with triggers_run(index):
        await told(index, "web", "StreamNotFound")
        await index.cache.store.create(pipeline("shop", {"name": "web"}))
        await told(index, "web", "Pipeline")
        await index.cache.store.delete(Pipeline, "shop", "shop")
        await told(index, "web", "StreamNotFound")


async def test_a_workload_without_triggers_says_that_a_pipeline_sets_its_images(
    index: WorkloadIndex,
) -> None:
    await fill(index, pipeline("shop", {"name": "web"}), workload("web"))
    async with triggers_run(index):
        await told(index, "web", "Pipeline")
    stored = await index.cache.store.get(Deployment, "shop", "web")
    (condition,) = stored.status.conditions
    assert condition.message == "stage dev of Pipeline shop/shop sets the images"


async def test_a_stage_that_is_kept_in_git_sets_no_trigger_aside(index: WorkloadIndex) -> None:
    git = {"repository": "https://git.test/live.git"}
    await fill(index, pipeline("shop", {"name": "web"}, git=git), workload("web", "app:latest"))
    async with triggers_run(index):
        await told(index, "web", "StreamNotFound")
