"""Counts of what namespaces hold, kept by a cache that runs: right at once, and cheap."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from decimal import Decimal
from typing import Any

import pytest

from upwell.api.apps import Deployment
from upwell.api.core import ConfigMap
from upwell.api.meta import ObjectMeta, Resource
from upwell.controller import ObjectCache
from upwell.machine.clock import now
from upwell.server.admission.quota import FullError, LimitedStore
from upwell.server.http.limits import ServerLimits
from upwell.store.interface import EVERYTHING, Listing, Selector
from upwell.store.memory import MemoryStore

MOST = 5


class CountingStore(MemoryStore):
    """A store that counts its listings of ConfigMaps of one namespace."""

    listings = 0

    async def list[R: Resource](self, kind: type[R], selector: Selector = EVERYTHING) -> Listing[R]:
        self.listings += kind is ConfigMap and bool(selector.namespace)
        return await super().list(kind, selector)


@pytest.fixture
async def store() -> CountingStore:
    return CountingStore(now)


@pytest.fixture
async def clients(store: CountingStore) -> AsyncIterator[LimitedStore]:
    cache = ObjectCache(store)
    running = asyncio.create_task(cache.run())
    limits = ServerLimits(
        namespace_quota={"configmaps": Decimal(MOST), "pods": Decimal(3)},
    )
    yield LimitedStore(store, limits, cache=cache)
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running


def config_map(name: str, namespace: str = "shop") -> ConfigMap:
    return ConfigMap(metadata=ObjectMeta(namespace=namespace, name=name))


def deployment(replicas: int) -> Deployment:
    document: dict[str, Any] = {
        "metadata": {"namespace": "shop", "name": "web"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": ({"name": "web", "image": "web"},)},
            },
        },
    }
    return Deployment.model_validate(document)


async def fits(clients: LimitedStore, resource: Resource) -> bool:
    try:
        await clients.create(resource)
    except FullError:
        return False
    return True


async def test_what_fits_lists_nothing(store: CountingStore, clients: LimitedStore) -> None:
    for number in range(MOST):
        assert await fits(clients, config_map(f"c-{number}"))
    assert store.listings == 0
    assert await fits(clients, config_map("c", "bank"))
    assert not await fits(clients, config_map("one-more"))


async def test_many_at_once_count_one_another(clients: LimitedStore) -> None:
    answers = await asyncio.gather(*(fits(clients, config_map(f"c-{n}")) for n in range(20)))
    assert sum(answers) == MOST


async def test_what_was_deleted_just_now_is_in_nobodys_way(clients: LimitedStore) -> None:
    for number in range(MOST):
        assert await fits(clients, config_map(f"c-{number}"))
    for number in range(20):
        await clients.delete(ConfigMap, "shop", f"c-{number}")
        assert await fits(clients, config_map(f"c-{number + MOST}"))
        assert not await fits(clients, config_map("one-more"))


async def test_what_the_server_makes_counts(store: CountingStore, clients: LimitedStore) -> None:
    for number in range(MOST):
        await store.create(config_map(f"c-{number}"))
    assert not await fits(clients, config_map("one-more"))


async def test_amounts_that_change_count_as_they_are(clients: LimitedStore) -> None:
    web = await clients.create(deployment(3))
    for replicas, allowed in ((1, True), (3, True), (4, False), (2, True), (3, True)):
        spec = web.spec.model_copy(update={"replicas": replicas})
        if allowed:
            web = await clients.update(web.model_copy(update={"spec": spec}))
        else:
            with pytest.raises(FullError, match="pods=1, used: pods=3"):
                await clients.update(web.model_copy(update={"spec": spec}))
