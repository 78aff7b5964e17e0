"""Quota of objects that clients may create."""

from collections.abc import AsyncIterator

import pytest
from tests.support.server.api_server import START, Api, config_map, serving

from upwell.api.core import ConfigMap
from upwell.api.meta import ObjectMeta, Resource
from upwell.server.admission.quota import FullError, LimitedStore
from upwell.server.http.limits import ServerLimits
from upwell.store.interface import EVERYTHING, Listing, Selector
from upwell.store.memory import MemoryStore

SHOP = "/api/v1/namespaces/shop/configmaps"


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    async with serving(ServerLimits(objects=6, objects_per_namespace=3)) as running:
        yield running


async def fill(api: Api, namespace: str, count: int) -> list[int]:
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    return [
        (await api.send("POST", path, config_map(f"c{number}"))).status for number in range(count)
    ]


async def test_a_full_namespace_takes_no_more_and_says_so(api: Api) -> None:
    assert await fill(api, "shop", 4) == [201, 201, 201, 403]
    refused = await api.send("POST", SHOP, config_map("more"))
    assert refused.json["reason"] == "Forbidden"
    assert refused.json["message"].startswith("namespace shop holds 3 objects, the maximum")


async def test_applying_creates_no_more_either_and_changes_what_is_there(api: Api) -> None:
    await fill(api, "shop", 3)
    kind = "application/apply-patch+yaml"

    async def apply(name: str) -> int:
        document = config_map(name) | {"data": {"a": "b"}}
        path = f"{SHOP}/{name}?fieldManager=t&force=true"
        return (await api.send("PATCH", path, document, kind)).status

    assert await apply("c0") == 200
    assert await apply("new") == 403


async def test_a_full_store_takes_no_more(api: Api) -> None:
    # Namespaces are objects too.
    assert await fill(api, "shop", 2) == [201, 201]
    codes = await fill(api, "bank", 3)
    assert codes[0] == 201
    refused = await api.send("POST", "/api/v1/namespaces/bank/configmaps", config_map("more"))
    assert refused.status == 403
    assert refused.json["message"].startswith("the store holds 6 objects")


def made(name: str) -> ConfigMap:
    return ConfigMap(metadata=ObjectMeta(name=name, namespace="shop"))


async def test_deleting_makes_room_again() -> None:
    seconds = [0.0]
    store = MemoryStore(lambda: START)
    limited = LimitedStore(store, ServerLimits(objects_per_namespace=1), lambda: seconds[0])
    await limited.create(made("a"))
    await limited.delete(ConfigMap, "shop", "a")
    with pytest.raises(FullError):
        await limited.create(made("b"))  # counting each time would make refusals dear
    seconds[0] += 2
    await limited.create(made("b"))


async def test_what_reconcilers_create_counts_in_time() -> None:
    seconds = [0.0]
    store = MemoryStore(lambda: START)
    limited = LimitedStore(store, ServerLimits(objects_per_namespace=3), lambda: seconds[0])
    await limited.create(made("a"))
    await store.create(made("b"))
    await store.create(made("c"))
    seconds[0] += 61
    with pytest.raises(FullError):
        await limited.create(made("d"))


class ViewlessStore(MemoryStore):
    """A store that refuses to list what is not stored, as the API of a cluster does."""

    async def list[R: Resource](self, kind: type[R], selector: Selector = EVERYTHING) -> Listing[R]:
        assert kind.KIND.is_stored, f"{kind.KIND.plural} are not listed: 405"
        return await super().list(kind, selector)


async def test_only_what_is_stored_is_counted() -> None:
    store = LimitedStore(ViewlessStore(lambda: START), ServerLimits())
    assert (await store.create(made("a"))).name == "a"
