"""A cluster's kinds come and go: what it has served once does not lose its objects unnoticed."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from datetime import UTC, datetime

import pytest
from tests.support.workload.waiting import eventually

from upwell.api.builds.build import Build
from upwell.api.core import ConfigMap
from upwell.api.meta import ObjectKey, ObjectMeta, Resource
from upwell.controller import ObjectCache
from upwell.machine.backoff import Backoff
from upwell.store.clusters.store import ClusterStore
from upwell.store.interface import (
    EVERYTHING,
    ExpiredError,
    KindWithdrawnError,
    Listing,
    Selector,
    UnavailableError,
    WatchEvent,
    WatchProgress,
)
from upwell.store.kubernetes_errors import KindNotServedError
from upwell.store.memory import MemoryStore


class StartingServer(MemoryStore):
    """An API server that knows no path of a custom resource while it starts."""

    def __init__(self) -> None:
        super().__init__(lambda: datetime(2026, 1, 1, tzinfo=UTC))
        self.starting = False
        self.unreadable: tuple[ObjectKey, ...] = ()

    async def require_ready(self) -> None:
        if self.starting:
            raise UnavailableError("[-]poststarthook/crd-informer-synced failed")

    async def get[R: Resource](self, kind: type[R], namespace: str, name: str) -> R:
        self._require(kind)
        return await super().get(kind, namespace, name)

    async def list[R: Resource](self, kind: type[R], selector: Selector = EVERYTHING) -> Listing[R]:
        self._require(kind)
        found = await super().list(kind, selector)
        return Listing(found.items, found.resource_version, self.unreadable)

    async def watch[R: Resource](
        self,
        kind: type[R],
        selector: Selector = EVERYTHING,
        *,
        since: str = "",
        progress: WatchProgress | None = None,
    ) -> AsyncGenerator[WatchEvent[R]]:
        self._require(kind)
        watch = super().watch(kind, selector, since=since, progress=progress)
        async with aclosing(watch) as events:
            async for event in events:
                self._require(kind)
                yield event

    def _require(self, kind: type[Resource]) -> None:
        if self.starting:
            raise KindNotServedError(kind.KIND)


def config(name: str, namespace: str = "shop") -> ConfigMap:
    return ConfigMap(metadata=ObjectMeta(name=name, namespace=namespace))


async def test_of_a_kind_that_was_never_served_there_are_no_objects() -> None:
    server = StartingServer()
    server.starting = True
    assert (await ClusterStore(server).list(Build)).items == ()


async def test_a_server_that_is_not_ready_may_serve_a_kind_that_it_does_not_know_yet() -> None:
    server = StartingServer()
    server.starting = True
    with pytest.raises(UnavailableError, match="crd-informer"):
        await ClusterStore(server, ready=server.require_ready).list(Build)


@pytest.mark.parametrize("namespaces", [frozenset(), frozenset({"shop"})], ids=["all", "some"])
async def test_objects_of_a_kind_that_was_served_are_not_taken_to_be_gone(
    namespaces: frozenset[str],
) -> None:
    server = StartingServer()
    store = ClusterStore(server, namespaces)
    await store.list(Build)
    server.starting = True
    with pytest.raises(KindWithdrawnError, match="builds"):
        await store.list(Build)
    with pytest.raises(KindWithdrawnError):
        await store.get(Build, "shop", "a")
    assert (await store.list(ConfigMap)).items == ()  # nobody has seen that one yet
    server.starting = False
    await store.list(Build)


async def test_a_watch_of_a_kind_that_was_served_has_it_listed_at_once() -> None:
    server = StartingServer()
    store = ClusterStore(server)
    found = await store.list(ConfigMap)
    server.starting = True
    async with asyncio.timeout(5):
        with pytest.raises(ExpiredError):
            await anext(store.watch(ConfigMap, since=found.resource_version))


async def test_what_was_written_is_of_a_kind_that_is_served() -> None:
    server = StartingServer()
    store = ClusterStore(server)
    await store.create(config("a"))
    server.starting = True
    with pytest.raises(KindWithdrawnError):
        await store.list(ConfigMap)


async def test_the_cache_keeps_what_a_starting_server_does_not_know(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("upwell.controller.watching._PAUSES", Backoff(first=0.01, longest=0.01))
    server = StartingServer()
    store = ClusterStore(server)
    kept = await store.create(config("a"))
    cache = ObjectCache(store)
    told: list[str] = []
    cache.on_change(ConfigMap, lambda _, after: told.append(after.name if after else "gone"))
    running = asyncio.create_task(cache.run())
    try:
        await cache.ready(ConfigMap)
        server.starting = True
        await server.create(config("b"))  # ends the watch
        faults = await eventually(_faults_of(cache), bool)
        assert "does not serve configmaps" in faults["ConfigMap"]
        assert cache.get(ConfigMap, "shop", "a") == kept
        server.starting = False
        await eventually(_faults_of(cache), lambda faults: not faults)
        assert told == ["a", "b"]
    finally:
        running.cancel()
        await asyncio.wait({running})


def _faults_of(cache: ObjectCache) -> Callable[[], Awaitable[Mapping[str, str]]]:
    async def faults() -> Mapping[str, str]:
        return cache.faults()

    return faults


async def test_the_cache_keeps_what_cannot_be_read_as_it_was() -> None:
    server = StartingServer()
    store = ClusterStore(server, frozenset({"shop"}))
    kept = await store.create(config("a"))
    cache = ObjectCache(store)
    await cache.ready(ConfigMap)

    server.unreadable = (kept.key, ObjectKey("ConfigMap", "elsewhere", "a"))
    await server.delete(ConfigMap, "shop", "a")  # as a list shows an object that is none
    listed = await store.list(ConfigMap)
    await cache.ready(ConfigMap)

    assert listed.unreadable == [kept.key]
    assert cache.get(ConfigMap, "shop", "a") == kept
