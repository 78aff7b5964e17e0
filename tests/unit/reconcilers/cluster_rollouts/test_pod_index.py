"""Pods in memory: which workloads a change concerns, what runs where, and gaps of a watch."""

import asyncio
from dataclasses import replace

import pytest
from tests.support.cluster.memory_cluster import MemoryClusterPods
from tests.support.cluster.workloads import pod, workload

from upwell.api.apps import DaemonSet, Deployment
from upwell.api.meta import ObjectKey
from upwell.cluster.errors import (
    AccessDeniedError,
    ClusterError,
    ClusterUnavailableError,
    ListExpiredError,
)
from upwell.reconcilers.cluster_rollouts.pods import PodIndex, RunningImage

WEB = ObjectKey("Deployment", "shop", "web")
RUNS = pod(workload(Deployment), "a", image="app:1", digest="sha256:1")


@pytest.fixture
def pods() -> MemoryClusterPods:
    return MemoryClusterPods()


async def test_pods_are_found_by_their_workload(pods: MemoryClusterPods) -> None:
    await pods.put(RUNS)
    await pods.put(pod(workload(DaemonSet), "b", image="app:1"))
    index = PodIndex(pods)
    changes = index.changes()

    told = {await anext(changes), await anext(changes)}

    assert told == {WEB, ObjectKey("DaemonSet", "shop", "web")}
    assert index.of(WEB) == (RUNS,)
    assert len(index) == 2


async def test_a_change_tells_its_workload(pods: MemoryClusterPods) -> None:
    index = PodIndex(pods)
    changes = index.changes()
    told = asyncio.ensure_future(anext(changes))
    await asyncio.sleep(0)

    await pods.put(RUNS)
    first = await told
    await pods.put(RUNS, gone=True)
    second = await anext(changes)

    assert (first, second) == (WEB, WEB)
    assert index.of(WEB) == ()


async def test_a_pod_that_its_workload_has_let_go_is_not_that_ones(
    pods: MemoryClusterPods,
) -> None:
    await pods.put(RUNS)
    index = PodIndex(pods)
    changes = index.changes()
    await anext(changes)
    told = asyncio.ensure_future(anext(changes))
    await asyncio.sleep(0)

    await pods.put(replace(RUNS, owner_kind="Pod", owner="a"))

    assert await told == ObjectKey("Pod", "shop", "a")
    assert index.of(WEB) == ()
    assert len(index) == 1


async def test_what_changed_in_a_gap_is_told_after_it(pods: MemoryClusterPods) -> None:
    await pods.put(RUNS)
    await pods.put(replace(RUNS, name="b"))
    index = PodIndex(pods)
    changes = index.changes()
    await anext(changes)
    told = asyncio.ensure_future(anext(changes))
    await asyncio.sleep(0)

    await pods.put(RUNS, gone=True)
    await told
    await pods.put(replace(RUNS, name="b"), gone=True)
    await pods.forget()
    with pytest.raises(ListExpiredError):  # whoever follows waits before the next list
        await anext(changes)
    after = await anext(index.changes())

    assert after == WEB
    assert index.of(WEB) == ()
    assert pods.lists == 2


async def test_running_images_are_counted_by_digest_workload_and_node(
    pods: MemoryClusterPods,
) -> None:
    for name, node in (("a", "one"), ("b", "one"), ("c", "two")):
        await pods.put(replace(RUNS, name=name, node=node))
    await pods.put(pod(workload(Deployment), "d", image="app:2"))
    index = PodIndex(pods)
    await anext(index.changes())

    assert index.workloads() == (WEB,)
    assert sorted(index.running(WEB), key=lambda one: one.node) == [
        RunningImage("sha256:1", "app:1", WEB, "one", 2),
        RunningImage("sha256:1", "app:1", WEB, "two", 1),
    ]


async def test_an_image_of_two_containers_is_one_of_the_pod(pods: MemoryClusterPods) -> None:
    [container] = RUNS.containers
    twice = (container, replace(container, name="beside"))
    await pods.put(replace(RUNS, containers=twice))
    index = PodIndex(pods)
    await anext(index.changes())

    assert [one.pods for one in index.running(WEB)] == [1]


async def test_pods_are_followed_though_nobody_decides_and_after_a_gap(
    pods: MemoryClusterPods,
) -> None:
    index, pauses = PodIndex(pods), asyncio.Queue[float]()

    async def pause(seconds: float) -> None:
        await pauses.put(seconds)

    running = asyncio.create_task(index.run(pause))
    await pods.put(RUNS)
    told = index.changed.keys()
    assert await anext(told) == WEB
    assert index.is_listed

    await pods.put(RUNS, gone=True)
    assert await anext(told) == WEB
    await pods.forget()
    assert await pauses.get() > 0
    await pods.put(RUNS)
    assert await anext(told) == WEB
    running.cancel()
    await asyncio.wait({running})
    assert pods.lists == 2


@pytest.mark.parametrize("is_listed", [False, True], ids=["list", "watch"])
@pytest.mark.parametrize(
    ("refusal", "fault"),
    [
        (AccessDeniedError('cannot list resource "pods"'), 'cannot list resource "pods"'),
        (ClusterUnavailableError("connection refused"), ""),
    ],
    ids=["refused", "away"],
)
async def test_a_cluster_that_refuses_to_tell_of_pods_is_told_until_it_does_not(
    pods: MemoryClusterPods, refusal: ClusterError, fault: str, *, is_listed: bool
) -> None:
    time, pauses, go_on = 100.0, asyncio.Queue[float](), asyncio.Event()

    async def pause(seconds: float) -> None:
        await pauses.put(seconds)
        await go_on.wait()

    index = PodIndex(pods, lambda: time)
    await pods.put(RUNS)
    if is_listed:
        assert await anext(index.changes()) == WEB
    pods.refusal = refusal
    running = asyncio.create_task(index.run(pause))
    try:
        await pauses.get()
        assert index.fault() == fault
        assert index.is_listed == is_listed, "what was seen last stays"
        assert len(index) == is_listed

        pods.refusal = None
        if is_listed:  # a watch that says nothing is not refused for long
            time += 60
        else:
            go_on.set()
            assert await anext(index.changed.keys()) == WEB
        assert not index.fault()
    finally:
        running.cancel()
        await asyncio.wait({running})
