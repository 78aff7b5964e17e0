"""Events that an earlier leader owes where promotions set images: in turn, and before the next."""

from collections import Counter

import pytest
from tests.support.cluster.workloads import complete, stuck, with_status_of
from tests.support.promotion.cluster_pipeline import ClusterPipeline
from tests.support.promotion.clustered_pipeline import (
    PRODUCTION,
    WORKLOAD,
    ClusteredPipeline,
    begun,
)
from tests.support.promotion.reconciled_pipeline import NAMESPACE, image

from upwell.api.apps import Deployment
from upwell.api.clusters.cluster import Cluster
from upwell.api.meta import ObjectKey
from upwell.api.promotion import Promotion
from upwell.cluster.errors import ClusterUnavailableError

FLEET = 30
AWAY = ClusterUnavailableError("the connection was lost")
CLUSTER = "east"


async def reconcile(pipelines: ClusteredPipeline) -> None:
    await pipelines.promotions.reconcile(ObjectKey(Promotion.KIND.kind, NAMESPACE, PRODUCTION))


@pytest.fixture
async def fleet() -> ClusteredPipeline:
    """A promotion onto many workloads of a cluster, whose leader was stopped after it set them."""
    pipelines = await begun(cluster=CLUSTER, workloads=[{"selector": {"matchLabels": {"a": "b"}}}])
    await pipelines.cluster(CLUSTER)
    there = pipelines.remotes.known[CLUSTER]
    first = await there.store.get(Deployment, NAMESPACE, WORKLOAD)
    await there.store.update(first.with_metadata(labels={"a": "b"}))
    for number in range(1, FLEET):
        more = first.with_metadata(
            name=f"web-{number}", labels={"a": "b"}, uid="", resource_version=""
        )
        await there.store.create(more)
    there.memory.mute = AWAY
    pipelines.slow_in.add(CLUSTER)
    await pipelines.push("one")
    await pipelines.settle()
    there.memory.mute = None
    there.memory.events_asked = 0
    pipelines.restart()
    return pipelines


async def test_those_of_another_cluster_are_paced_and_the_rest_told_before_nobody_looks(
    fleet: ClusteredPipeline,
) -> None:
    there = fleet.remotes.known[CLUSTER]

    await reconcile(fleet)
    assert there.memory.events_asked == 1
    fleet.clock.advance(1)
    await reconcile(fleet)
    assert there.memory.events_asked == 1 + 20

    for one in (await there.store.list(Deployment)).items:
        await there.store.update_status(with_status_of(one, **complete(one)))
    await reconcile(fleet)
    told = Counter((one.workload.name, one.message) for one in there.memory.told)
    assert set(told.values()) == {1}
    assert len(told) == there.memory.events_asked == FLEET


async def test_one_that_waits_is_told_before_its_image_is_put_back(
    fleet: ClusteredPipeline,
) -> None:
    there = fleet.remotes.known[CLUSTER]
    fleet.clock.advance(60)
    waiting = await there.store.get(Deployment, NAMESPACE, f"web-{FLEET - 1}")
    await there.store.update_status(with_status_of(waiting, **stuck(waiting)))

    await reconcile(fleet)

    told = [one.reason for one in there.memory.told if one.workload.name == waiting.name]
    assert told == ["ImageUpdated", "RolledBack"]


async def test_one_of_this_cluster_is_told_before_the_next_release_is_set() -> None:
    pipelines = ClusterPipeline()
    await pipelines.pipeline({"name": "dev"}, {"name": "production"})
    pipelines.cluster.mute = AWAY
    await pipelines.push("one")
    await pipelines.settle()
    pipelines.cluster.mute = None
    pipelines.fail_over()

    await pipelines.push("two")
    await pipelines.settle()

    written = [one for one in pipelines.cluster.told if one.reason == "ImageUpdated"]
    told = Counter((one.workload.name, one.message) for one in written)
    names, images = ("dev-shop", "production-shop"), (image("one"), image("two"))
    assert told == {(name, f"set web = {one}"): 1 for name in names for one in images}


async def test_what_an_earlier_promotion_has_left_untold_is_told_by_the_next_one() -> None:
    pipelines = await begun(cluster=CLUSTER)
    await pipelines.cluster(CLUSTER)
    there = pipelines.remotes.known[CLUSTER].memory
    there.mute = AWAY
    pipelines.slow_in.add(CLUSTER)
    await pipelines.push("one")
    await pipelines.settle()
    there.mute = None
    pipelines.restart()

    await pipelines.store.delete(Promotion, NAMESPACE, PRODUCTION)
    pipelines.slow_in.clear()
    await pipelines.settle()

    assert (await pipelines.phases())[PRODUCTION] == "Succeeded"
    assert [one.message for one in there.told] == [f"set web = {image('one')}"]


@pytest.fixture
async def told() -> ClusteredPipeline:
    """A promotion that goes on, whose image was set and told of."""
    pipelines = await begun(cluster=CLUSTER)
    await pipelines.cluster(CLUSTER)
    pipelines.slow_in.add(CLUSTER)
    await pipelines.push("one")
    await pipelines.settle()
    return pipelines


async def test_what_was_told_is_forgotten_when_its_event_would_be_gone(
    told: ClusteredPipeline,
) -> None:
    [writes] = told.placement._told.values()
    [workload] = writes._told
    await told.remotes.known[CLUSTER].store.delete(Deployment, NAMESPACE, WORKLOAD)
    await reconcile(told)
    assert [*writes._told] == [workload]

    told.clock.advance(3600)
    await reconcile(told)

    assert [*writes._told] == []


async def test_what_was_told_is_forgotten_with_its_cluster(told: ClusteredPipeline) -> None:
    assert len(told.placement._told) == 1
    await told.store.delete(Cluster, "", CLUSTER)

    await reconcile(told)

    assert told.placement._told == {}
