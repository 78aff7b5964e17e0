"""Contract of clients of an API server: requests of people's commands beyond the store port."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest
from tests.support.kubernetes.cluster import KitCluster
from tests.support.store.own_server import own_client
from tests.support.store.stores_under_test import pipeline

from upwell.api.apps import CronJob
from upwell.api.core import ConfigMap, Namespace
from upwell.api.meta import ObjectMeta
from upwell.api.pipeline import Pipeline
from upwell.api.requests.prune import Prune
from upwell.store.interface import (
    ConflictError,
    MissingPathError,
    NotFoundError,
    RejectedError,
    Selector,
    StoreError,
    UnavailableError,
)
from upwell.store.kubernetes import KubernetesStore
from upwell.store.kubernetes_errors import KindNotServedError, StoreForbiddenError

NAMESPACE = "client"


@pytest.fixture(params=["server", "kubernetes"])
async def client(request: pytest.FixtureRequest) -> AsyncIterator[KubernetesStore]:
    if request.param == "server":
        async with own_client(NAMESPACE) as store:
            yield store
        return
    async with request.getfixturevalue("cluster").store(NAMESPACE) as store:
        yield store


@pytest.fixture
async def own() -> AsyncIterator[KubernetesStore]:
    async with own_client(NAMESPACE) as store:
        yield store


@pytest.fixture
async def foreign(cluster: KitCluster) -> AsyncIterator[KubernetesStore]:
    async with cluster.store(NAMESPACE) as store:
        yield store


def manifest(**fields: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "a", "namespace": NAMESPACE},
        **fields,
    }


async def test_apply_makes_then_merges(client: KubernetesStore) -> None:
    made, warnings = await client.apply(manifest(data={"a": "1", "b": "1"}), field_manager="me")
    changed, _ = await client.apply(manifest(data={"a": "2"}), field_manager="me")

    assert isinstance(made, ConfigMap)
    assert warnings == []
    assert isinstance(changed, ConfigMap)
    assert changed.data == {"a": "2"}
    assert changed.uid == made.uid


async def test_apply_conflicts_over_a_field_of_another_unless_forced(
    client: KubernetesStore,
) -> None:
    await client.apply(manifest(data={"a": "1"}), field_manager="one")

    with pytest.raises(ConflictError, match=r"\.data\.a"):
        await client.apply(manifest(data={"a": "2"}), field_manager="two")
    forced, _ = await client.apply(manifest(data={"a": "2"}), field_manager="two", force=True)
    assert isinstance(forced, ConfigMap)
    assert forced.data == {"a": "2"}


async def test_a_dry_run_writes_nothing(client: KubernetesStore) -> None:
    shown, _ = await client.apply(manifest(), field_manager="me", dry_run=True)

    assert shown.name == "a"
    with pytest.raises(NotFoundError):
        await client.get(ConfigMap, NAMESPACE, "a")


async def test_apply_of_a_wrong_object_says_what_is_wrong(client: KubernetesStore) -> None:
    with pytest.raises(RejectedError, match=r"data\[no key\]"):
        await client.apply(manifest(data={"no key": "1"}), field_manager="me")
    with pytest.raises(RejectedError, match="unknown kind Teapot"):
        await client.apply({"apiVersion": "v1", "kind": "Teapot"}, field_manager="me")
    with pytest.raises(RejectedError, match=r"metadata\.name"):
        await client.apply({"apiVersion": "v1", "kind": "ConfigMap"}, field_manager="me")


async def test_a_warning_of_the_server_is_handed_on(own: KubernetesStore) -> None:
    odd = manifest() | {"kind": "BuildConfig", "apiVersion": "build.openshift.io/v1"}
    odd["spec"] = {"strategy": {"jenkinsPipelineStrategy": {"jenkinsfile": "node {}"}}, "odd": 1}

    _, warnings = await own.apply(odd, field_manager="me")

    assert any("spec.odd" in warning for warning in warnings)


async def test_a_merge_patch_changes_and_removes(client: KubernetesStore) -> None:
    await client.apply(manifest(data={"a": "1", "b": "1"}), field_manager="me")

    patched = await client.patch(ConfigMap, NAMESPACE, "a", {"data": {"a": None, "b": "2"}})

    assert patched.data == {"b": "2"}


async def test_a_subresource_can_be_patched(client: KubernetesStore) -> None:
    await client.create(pipeline("p", namespace=NAMESPACE))

    patched = await client.patch(
        Pipeline, NAMESPACE, "p", {"status": {"observedGeneration": 1}}, "status"
    )

    assert patched.status.observed_generation == 1


async def test_a_subresource_can_be_called_and_streamed(client: KubernetesStore) -> None:
    await client.create(pipeline("p", namespace=NAMESPACE))

    document = await client.call("GET", Pipeline, NAMESPACE, "p", "status")
    async with aclosing(client.stream(Pipeline, NAMESPACE, "p", "status")) as chunks:
        streamed = b"".join([chunk async for chunk in chunks])

    assert document["metadata"]["name"] == "p"
    assert json.loads(streamed) == document


async def test_names_are_told_without_the_objects(client: KubernetesStore) -> None:
    for name in ("b", "a", "c"):
        await client.create(ConfigMap(metadata=ObjectMeta(name=name, namespace=NAMESPACE)))
    assert await client.names(ConfigMap, NAMESPACE, 2) == ["a", "b"]


async def test_names_take_a_small_answer(own: KubernetesStore) -> None:
    annotations = {"note": "x" * 250_000}
    for name in "abcde":
        metadata = ObjectMeta(name=name, namespace=NAMESPACE, annotations=annotations)
        await own.create(ConfigMap(metadata=metadata))
    assert await own.names(ConfigMap, NAMESPACE, 2) == ["a", "b"]
    with pytest.raises(StoreError, match="more than"):
        await own.names(ConfigMap, NAMESPACE, 5)


async def test_the_server_tells_its_version(client: KubernetesStore) -> None:
    assert json.loads(await client.get_raw("/version"))["major"] == "1"
    with pytest.raises(RejectedError, match="/none"):
        await client.get_raw("/none")
    assert (await client.send_raw("GET", "/version"))["major"] == "1"
    with pytest.raises(MissingPathError):
        await client.send_raw("DELETE", "/none")
    with pytest.raises(StoreError):
        await client.send_raw("POST", "/version", {"a": 1})


async def test_a_kind_that_the_server_does_not_serve_is_named(foreign: KubernetesStore) -> None:
    with pytest.raises(KindNotServedError, match=r"cronjobs\.batch"):
        await foreign.get(CronJob, NAMESPACE, "a")
    with pytest.raises(KindNotServedError, match=r"cronjobs\.batch"):
        await foreign.list(CronJob)


async def test_a_namespace_that_does_not_exist_is_named(foreign: KubernetesStore) -> None:
    # Our own server makes it.
    with pytest.raises(NotFoundError, match="Namespace nowhere does not exist"):
        await foreign.create(ConfigMap(metadata=ObjectMeta(name="a", namespace="nowhere")))


async def test_a_wrong_token_is_refused(cluster: KitCluster) -> None:
    async with KubernetesStore(cluster.base_url, token="wrong", ca=cluster.ca) as client:
        with pytest.raises(StoreForbiddenError, match="Unauthorized") as raised:
            await client.list(Namespace)
    assert "wrong" not in str(raised.value)


async def test_a_server_of_an_unknown_authority_is_not_trusted(cluster: KitCluster) -> None:
    async with KubernetesStore(cluster.base_url, token=cluster.token) as client:
        with pytest.raises(UnavailableError, match="certificate"):
            await client.list(Namespace)


async def test_a_watch_without_events_outlives_many_others(client: KubernetesStore) -> None:
    selector = Selector(NAMESPACE, name="last")
    since = (await client.list(ConfigMap, selector)).resource_version
    async with (
        asyncio.timeout(60),
        aclosing(client.watch(ConfigMap, selector, since=since)) as events,
    ):
        waiting = asyncio.ensure_future(anext(events))
        for number in range(20):
            meta = ObjectMeta(name=f"i{number}", namespace=NAMESPACE)
            await client.create(ConfigMap(metadata=meta))
        assert not waiting.done()
        await client.create(ConfigMap(metadata=ObjectMeta(name="last", namespace=NAMESPACE)))
        assert (await waiting).resource.name == "last"


async def test_a_server_that_is_not_there_is_unavailable() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    async with KubernetesStore(url) as client:
        with pytest.raises(UnavailableError, match=url):
            await client.list(Namespace)


async def test_an_answer_takes_longer_where_the_caller_says_so() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        body = b'{"apiVersion": "upwell.dev/v1alpha1", "kind": "Prune", "status": {"bytes": 7}}'
        writer.write(b"HTTP/1.1 201 Created\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with KubernetesStore(url, timeout=1e-6) as client:
            with pytest.raises(UnavailableError, match="did not answer in time"):
                await client.list(Namespace)
            assert (await client.request(Prune(), 30)).status.bytes == 7


async def test_a_server_that_never_answers_is_unavailable() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        async with KubernetesStore(url, timeout=0.1) as client:
            with pytest.raises(UnavailableError, match="did not answer in time"):
                await client.list(Namespace)
