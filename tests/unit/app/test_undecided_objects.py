"""Objects by which nothing can be decided, and how their people learn of it."""

import asyncio
from contextlib import suppress
from datetime import UTC, datetime

import pytest
from tests.support.builds.memory_builds import until
from tests.support.cluster.memory_cluster import MemoryClusterPods
from tests.support.component_reports import running, state

from upwell.api.core import ConfigMap, Event
from upwell.api.meta import ObjectKey, ObjectMeta
from upwell.app.kubernetes.watching import tell_undecided, watch_objects
from upwell.cluster.errors import AccessDeniedError
from upwell.controller import Controller, ObjectCache, Result, Watch
from upwell.machine.backoff import Backoff
from upwell.machine.components import Components
from upwell.reconcilers.cluster_rollouts.pods import PodIndex
from upwell.store.memory import MemoryStore
from upwell.store.unreadable import UnreadableObjects

NOW = datetime(2026, 5, 1, tzinfo=UTC)
NONSENSE = ObjectKey("ConfigMap", "shop", "nonsense")


class Strict:
    """Decides by all objects but one, until that is mended."""

    def __init__(self) -> None:
        self.mended = False
        self.why = "not a digest: 'a'"
        self.seen: set[str] = set()

    async def reconcile(self, key: ObjectKey) -> Result:
        self.seen.add(key.name)
        if key == NONSENSE and not self.mended:
            raise ValueError(self.why)
        return Result()


async def test_one_that_fails_is_told_by_an_event_and_keeps_no_other_from_anything(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("upwell.app.kubernetes.watching._LOOK_SECONDS", 0.01)
    store = MemoryStore(lambda: NOW)
    cache, strict = ObjectCache(store), Strict()
    backoff = Backoff(first=0.01, longest=0.02)
    controller = Controller("strict", strict, cache, (Watch(ConfigMap),), backoff=backoff)
    for name in ("nonsense", "sound"):
        await store.create(ConfigMap(metadata=ObjectMeta(name=name, namespace="shop")))

    async def told() -> bool:
        return bool((await store.list(Event)).items) and len(strict.seen) > 1

    async def succeeds() -> bool:
        return not cache.failing.all()

    async def told_again() -> bool:
        [event] = (await store.list(Event)).items
        return strict.why in event.message and event.count == 2

    telling = tell_undecided(UnreadableObjects(), cache, lambda: NOW)
    tasks = [asyncio.create_task(one) for one in (cache.run(), controller.run(), telling)]
    try:
        await until(told)
        [event] = (await store.list(Event)).items
        assert strict.seen == {"nonsense", "sound"}
        assert (event.reason, event.involved_object.name) == ("ReconcileFailed", "nonsense")
        assert "not a digest: 'a'" in event.message
        strict.mended = True
        await until(succeeds)
        strict.mended, strict.why = False, "not a platform: 'b'"
        controller.queue.add(NONSENSE)
        await until(told_again)
    finally:
        for task in tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
    assert len((await store.list(Event)).items) == 1


async def test_pods_that_the_cluster_does_not_tell_of_are_a_kind_that_it_refuses() -> None:
    pods, components = MemoryClusterPods(), Components()
    pods.refusal = AccessDeniedError('cannot watch resource "pods"')
    index = PodIndex(pods)
    watching = watch_objects(
        ObjectCache(MemoryStore(lambda: NOW)), [index], UnreadableObjects(), components
    )
    async with running(index.run()), running(watching):
        found = await state(components, lambda one: one.faulty)
    assert (found.name, found.reason) == ("cluster-kinds", "KindRefused")
    assert found.message == 'cannot watch resource "pods"'
