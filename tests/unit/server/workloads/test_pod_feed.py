"""Lists of the feed of Pods, before any selector of the API."""

import asyncio
from contextlib import aclosing
from datetime import UTC, datetime

import pytest
from tests.support.rollouts.counting_runtime import CountingRuntime
from tests.support.server.api_server import StubRuntime

from upwell.api.pod import Pod
from upwell.oci import Digest
from upwell.server.workloads.awaited_pods import AwaitingWorkloads
from upwell.server.workloads.pod_feed import PodFeed
from upwell.store.interface import Selector
from upwell.store.memory import MemoryStore
from upwell.workload.instance_spec import Owner
from upwell.workload.interface import Instance, State

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def instance(name: str, namespace: str, **labels: str) -> Instance:
    return Instance(
        name=name,
        owner=Owner("Deployment", namespace, name),
        revision="rev1",
        state=State.RUNNING,
        ready=True,
        ready_since=NOW,
        started_at=NOW,
        address="10.0.0.7",
        images={"web": Digest.of(b"an image")},
        labels=labels,
    )


@pytest.mark.parametrize(
    ("selector", "found"),
    [
        (Selector(), ["bank/db-1", "shop/db-1", "shop/web-1"]),
        (Selector("shop"), ["shop/db-1", "shop/web-1"]),
        (Selector(labels={"app": "db"}), ["bank/db-1", "shop/db-1"]),
        (Selector("shop", {"app": "db", "tier": "1"}), ["shop/db-1"]),
        (Selector(labels={"tier": "1"}), ["shop/db-1"]),
        (Selector(name="web-1"), ["shop/web-1"]),
        (Selector("bank", name="web-1"), []),
    ],
)
async def test_a_list_has_the_pods_that_the_selector_wants(
    selector: Selector, found: list[str]
) -> None:
    runtime = StubRuntime()
    runtime.shown = [
        instance("web-1", "shop", app="web"),
        instance("db-1", "shop", app="db", tier="1"),
        instance("db-1", "bank", app="db"),
    ]
    feed = PodFeed(runtime, MemoryStore(lambda: NOW), NOW, AwaitingWorkloads())

    listing = await feed.list(Pod, selector)

    assert [f"{pod.namespace}/{pod.name}" for pod in listing.items] == found


async def test_changes_of_many_at_once_are_one_look_and_none_is_missed() -> None:
    runtime, many = CountingRuntime(lambda: NOW), 1000
    feed = PodFeed(runtime, MemoryStore(lambda: NOW), NOW, AwaitingWorkloads())
    running = asyncio.create_task(feed.run())
    seen: set[str] = set()
    async with aclosing(feed.watch(Pod)) as events:
        first = asyncio.ensure_future(anext(events))
        for _ in range(50):  # until all that the feed starts has come to where it waits
            await asyncio.sleep(0)
        assert runtime.lists == 1
        for number in range(many):
            runtime.put(instance(f"web-{number}", "shop", app="web"))
        seen.add((await first).resource.name)
        while len(seen) < many:
            seen.add((await anext(events)).resource.name)
    running.cancel()
    await asyncio.wait([running])
    assert runtime.lists < 10
