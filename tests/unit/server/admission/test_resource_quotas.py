"""ResourceQuotas at admission: 403 as Kubernetes words it, and no way around by being quick."""

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal

import pytest
from tests.support.server.api_server import Api, config_map, deployment, serving

from upwell.server.http.limits import ServerLimits

SHOP = "/api/v1/namespaces/shop"
DEPLOYMENTS = "/apis/apps/v1/namespaces/shop/deployments"


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    async with serving(ServerLimits(namespace_quota={"configmaps": Decimal(3)})) as running:
        yield running


async def limit(api: Api, **hard: str | int) -> None:
    named = {name.replace("__", "/").replace("_", "."): most for name, most in hard.items()}
    quota = {"metadata": {"name": "compute"}, "spec": {"hard": named}}
    answer = await api.send("POST", f"{SHOP}/resourcequotas", quota)
    assert answer.status == 201, answer.text


async def test_one_too_many_is_refused_as_kubernetes_does(api: Api) -> None:
    await limit(api, count__deployments_apps=1)
    assert (await api.send("POST", DEPLOYMENTS, deployment("web"))).status == 201
    refused = await api.send("POST", DEPLOYMENTS, deployment("db"))
    assert (refused.status, refused.json["reason"]) == (403, "Forbidden")
    assert refused.json["message"] == (
        'deployments.apps "db" is forbidden: exceeded quota: compute, requested:'
        " count/deployments.apps=1, used: count/deployments.apps=1, limited:"
        " count/deployments.apps=1"
    )
    elsewhere = DEPLOYMENTS.replace("shop", "bank")
    assert (await api.send("POST", elsewhere, deployment("db"))).status == 201


async def test_more_replicas_are_asked_for_too(api: Api) -> None:
    await limit(api, pods="3")
    assert (await api.send("POST", DEPLOYMENTS, deployment("web"))).status == 201
    merge = "application/merge-patch+json"

    async def scale(replicas: int) -> int:
        patch = {"spec": {"replicas": replicas}}
        return (await api.send("PATCH", f"{DEPLOYMENTS}/web", patch, merge)).status

    assert [await scale(count) for count in (3, 4, 1, 3)] == [200, 403, 200, 200]
    subresource = f"{DEPLOYMENTS}/web/scale"
    scaled = await api.send("PATCH", subresource, {"spec": {"replicas": 9}}, merge)
    assert scaled.status == 403


async def test_requests_at_once_count_one_another(api: Api) -> None:
    await limit(api, secrets=2)
    secret = {"metadata": {"generateName": "s-"}, "stringData": {"a": "b"}}
    answers = await asyncio.gather(
        *(api.send("POST", f"{SHOP}/secrets", secret) for _ in range(10))
    )
    assert sorted(answer.status for answer in answers) == [201] * 2 + [403] * 8


async def test_the_settings_limit_where_no_quota_does(api: Api) -> None:
    async def create(name: str) -> int:
        return (await api.send("POST", f"{SHOP}/configmaps", config_map(name))).status

    assert [await create(name) for name in "abcd"] == [201, 201, 201, 403]
    await limit(api, configmaps=4)
    assert [await create(name) for name in "de"] == [201, 403]
    assert (await api.send("DELETE", f"{SHOP}/configmaps/a")).status == 200
    assert await create("e") == 201


async def test_a_quota_above_its_own_use_is_no_obstacle_to_less(api: Api) -> None:
    assert (await api.send("POST", DEPLOYMENTS, deployment("web", replicas=5))).status == 201
    await limit(api, pods=1)
    merge = "application/merge-patch+json"
    fewer = await api.send("PATCH", f"{DEPLOYMENTS}/web", {"spec": {"replicas": 4}}, merge)
    assert fewer.status == 200
    labelled = {"metadata": {"labels": {"a": "b"}}}
    assert (await api.send("PATCH", f"{DEPLOYMENTS}/web", labelled, merge)).status == 200


async def test_what_cannot_be_counted_is_said(api: Api) -> None:
    quota = {"metadata": {"name": "q"}, "spec": {"hard": {"requests.cpu": "1", "pods": "few"}}}
    refused = await api.send("POST", f"{SHOP}/resourcequotas", quota)
    assert refused.status == 422
    assert "spec.hard[pods]: 'few' is not a quantity" in refused.json["message"]
    quota["spec"] = {"hard": {"requests.cpu": "1"}}
    taken = await api.send("POST", f"{SHOP}/resourcequotas", quota)
    assert taken.status == 201
    assert "spec.hard[requests.cpu] limits nothing" in taken.warnings[0]
    scoped = {"metadata": {"name": "s"}, "spec": {"hard": {}, "scopes": ["BestEffort"]}}
    answer = await api.send("POST", f"{SHOP}/resourcequotas", scoped)
    assert answer.status == 422
    assert "spec.scopes" in answer.json["message"]
