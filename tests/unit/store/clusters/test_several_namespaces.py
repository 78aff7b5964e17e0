"""Some namespaces of a cluster: each is listed and watched by itself, and no other is."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import UTC, datetime

import pytest

from upwell.api.core import ConfigMap, Namespace
from upwell.api.meta import ObjectMeta, Resource
from upwell.controller import ObjectCache
from upwell.store.clusters.namespaces import SeveralNamespaces
from upwell.store.clusters.store import ClusterStore
from upwell.store.interface import (
    EVERYTHING,
    ExpiredError,
    Listing,
    Selector,
    UnavailableError,
    WatchEvent,
    WatchProgress,
)
from upwell.store.kubernetes_errors import StoreForbiddenError
from upwell.store.memory import MemoryStore


class NarrowStore(MemoryStore):
    """A cluster as an account sees it that may read the namespaces `a` and `b` alone."""

    def __init__(self) -> None:
        super().__init__(lambda: datetime.now(UTC))
        self.broken = asyncio.Event()
        """Set: watches of `b` break."""

    async def list[R: Resource](self, kind: type[R], selector: Selector = EVERYTHING) -> Listing[R]:
        _require_right(kind, selector)
        return await super().list(kind, selector)

    async def watch[R: Resource](
        self,
        kind: type[R],
        selector: Selector = EVERYTHING,
        *,
        since: str = "",
        progress: WatchProgress | None = None,
    ) -> AsyncGenerator[WatchEvent[R]]:
        _require_right(kind, selector)
        if selector.namespace == "b" and self.broken.is_set():
            raise UnavailableError("the connection broke")
        async with aclosing(super().watch(kind, selector, since=since, progress=progress)) as all_:
            async for event in all_:
                yield event


def _require_right(kind: type[Resource], selector: Selector) -> None:
    if kind.KIND.namespaced and selector.namespace not in {"a", "b"}:
        raise StoreForbiddenError(f"cannot list {kind.KIND.resource} in the whole cluster")


def config(name: str, namespace: str) -> ConfigMap:
    return ConfigMap(metadata=ObjectMeta(name=name, namespace=namespace))


@pytest.fixture
def cluster() -> NarrowStore:
    return NarrowStore()


@pytest.fixture
def store(cluster: NarrowStore) -> ClusterStore:
    return ClusterStore(cluster, frozenset({"a", "b"}), frozenset({"a", "own"}))


async def test_what_they_have_is_listed_and_nothing_else(
    cluster: NarrowStore, store: ClusterStore
) -> None:
    for name, namespace in (("two", "b"), ("one", "a"), ("hidden", "c")):
        await cluster.create(config(name, namespace))
    await cluster.create(Namespace(metadata=ObjectMeta(name="c")))

    assert [one.name for one in (await store.list(ConfigMap)).items] == ["one", "two"]
    assert [one.name for one in (await store.list(Namespace)).items] == ["c"]


async def test_a_watch_tells_the_changes_of_all_after_a_listing(
    cluster: NarrowStore, store: ClusterStore
) -> None:
    await cluster.create(config("before", "a"))
    since = (await store.list(ConfigMap)).resource_version
    for name, namespace in (("two", "b"), ("hidden", "c"), ("one", "a")):
        await cluster.create(config(name, namespace))

    async with asyncio.timeout(10), aclosing(store.watch(ConfigMap, since=since)) as events:
        told = {(await anext(events)).resource.name for _ in range(2)}
        await cluster.create(config("three", "b"))
        then = (await anext(events)).resource

    assert told == {"one", "two"}
    assert then.name == "three"
    with pytest.raises(ExpiredError):  # of others it may not have told all before this one
        await anext(store.watch(ConfigMap, since=then.resource_version))


async def test_the_cache_loses_nothing_when_the_watch_of_one_breaks(
    cluster: NarrowStore, store: ClusterStore
) -> None:
    cache = ObjectCache(store)
    running = asyncio.create_task(cache.run())
    try:
        await cache.ready(ConfigMap)
        cluster.broken.set()
        await cache.wait_for(await cluster.create(config("one", "a")))
        cluster.broken.clear()
        for name, namespace in (("two", "b"), ("three", "a")):
            await cache.wait_for(await cluster.create(config(name, namespace)))

        assert cache.get(ConfigMap, "b", "two") is not None
    finally:
        running.cancel()
        await asyncio.wait({running})


async def test_where_nothing_may_be_listed_the_refusal_is_told(cluster: NarrowStore) -> None:
    several = SeveralNamespaces(cluster, frozenset(), frozenset({"x", "y"}))

    with pytest.raises(StoreForbiddenError, match="configmaps in any of x, y"):
        await several.list(ConfigMap, EVERYTHING)
