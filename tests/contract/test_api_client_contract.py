"""Contract of clients of an API, for people's commands: the server's, and the one in memory."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from tests.support.server.api_server import deployment, serving
from tests.support.store.stores_under_test import NAMESPACE, now, pipeline
from tests.unit.cli.conftest import FakeClient, ScriptedConversation
from tests.unit.server.workloads.test_api_pods import instance

from upwell.api.apps import Deployment
from upwell.api.codec import decode_as, encode
from upwell.api.core import ConfigMap
from upwell.api.pipeline import Pipeline
from upwell.server.http.limits import DEFAULT_LIMITS
from upwell.store.interface import ApiClient, Conversation, NotFoundError, RejectedError
from upwell.store.kubernetes import KubernetesStore
from upwell.store.kubernetes_socket import KubernetesConversation

PROTOCOL = "v5.channel.k8s.io"
COMMAND = [("command", "cat"), ("stdin", "1"), ("stdout", "1"), ("stderr", "1")]


@dataclass(frozen=True)
class Connected:
    """A client, and the class of the conversations that it opens with Deployment `web`."""

    client: ApiClient
    conversation: type[Conversation]


@asynccontextmanager
async def to_server() -> AsyncIterator[Connected]:
    async with serving(DEFAULT_LIMITS) as api, KubernetesStore(api.url) as client:
        api.runtime.shown = [instance("web-1")]
        yield Connected(client, KubernetesConversation)


@asynccontextmanager
async def in_memory() -> AsyncIterator[Connected]:
    client = FakeClient(now)
    said = [b"\x02cat", b"\x01hello", b'\x03{"status":"Failure"}']
    client.conversations["deployments/web/exec"] = ScriptedConversation(*said, after=1)
    client.answers["pipelines/p/status"] = encode(pipeline("p"))
    client.logs["p"] = json.dumps(client.answers["pipelines/p/status"]).encode()
    yield Connected(client, ScriptedConversation)


@pytest.fixture(params=[to_server, in_memory], ids=["server", "memory"])
async def connected(request: pytest.FixtureRequest) -> AsyncIterator[Connected]:
    async with request.param() as found:
        yield found


@pytest.fixture
def client(connected: Connected) -> ApiClient:
    return connected.client


def manifest(**fields: Any) -> dict[str, Any]:
    metadata = {"name": "a", "namespace": NAMESPACE}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, **fields}


async def test_apply_makes_then_merges(client: ApiClient) -> None:
    made, _ = await client.apply(manifest(data={"a": "1", "b": "1"}), field_manager="me")
    _, warnings = await client.apply(manifest(data={"a": "2", "b": "1"}), field_manager="me")

    changed = await client.get(ConfigMap, NAMESPACE, "a")
    assert list(warnings) == []
    assert (changed.uid, changed.data) == (made.uid, {"a": "2", "b": "1"})


async def test_a_dry_run_writes_nothing(client: ApiClient) -> None:
    shown, _ = await client.apply(manifest(), field_manager="me", dry_run=True)

    assert shown.name == "a"
    with pytest.raises(NotFoundError):
        await client.get(ConfigMap, NAMESPACE, "a")


async def test_apply_of_a_kind_that_there_is_not_is_rejected(client: ApiClient) -> None:
    with pytest.raises(RejectedError, match="unknown kind Teapot"):
        await client.apply({"apiVersion": "v1", "kind": "Teapot"}, field_manager="me")


async def test_a_merge_patch_changes_and_removes(client: ApiClient) -> None:
    await client.apply(manifest(data={"a": "1", "b": "1"}), field_manager="me")

    patched = await client.patch(ConfigMap, NAMESPACE, "a", {"data": {"a": None, "b": "2"}})
    assert patched.data == {"b": "2"}
    with pytest.raises(NotFoundError):
        await client.patch(ConfigMap, NAMESPACE, "none", {"data": {}})


async def test_a_patch_of_the_status_leaves_the_rest(client: ApiClient) -> None:
    made = await client.create(pipeline("p"))

    patch = {"status": {"observedGeneration": 1}}
    patched = await client.patch(Pipeline, NAMESPACE, "p", patch, "status")
    assert (patched.status.observed_generation, patched.spec) == (1, made.spec)


async def test_a_subresource_is_called_and_streamed(client: ApiClient) -> None:
    await client.create(pipeline("p"))

    document = await client.call("GET", Pipeline, NAMESPACE, "p", "status")
    async with aclosing(client.stream(Pipeline, NAMESPACE, "p", "status")) as pieces:
        streamed = b"".join([piece async for piece in pieces])
    assert decode_as(Pipeline, document).name == "p"
    assert json.loads(streamed) == document


async def test_a_subresource_of_nothing_is_not_found(client: ApiClient) -> None:
    with pytest.raises(NotFoundError):
        await client.call("GET", Pipeline, NAMESPACE, "none", "status")
    with pytest.raises(NotFoundError):
        async with client.converse(Deployment, NAMESPACE, "none", "exec", COMMAND, PROTOCOL):
            pass


async def test_a_conversation_takes_messages_and_gives_them_to_its_end(
    connected: Connected,
) -> None:
    client = connected.client
    await client.create(decode_as(Deployment, wanted()))
    async with (
        asyncio.timeout(60),
        client.converse(Deployment, NAMESPACE, "web", "exec", COMMAND, PROTOCOL) as conversation,
    ):
        assert isinstance(conversation, connected.conversation)
        for message in (b"\x00hello", b"\xff\x00"):
            await conversation.send(message)
        said = [message async for message in conversation.messages() if message[1:]]
    assert [message[:1] for message in said] == [b"\x02", b"\x01", b"\x03"]
    assert said[:2] == [b"\x02cat", b"\x01hello"]


def wanted() -> dict[str, Any]:
    document = deployment("web")
    return {**document, "metadata": {"name": "web", "namespace": NAMESPACE}}


async def test_what_was_written_is_there_after_the_client_closed(client: ApiClient) -> None:
    async with client as opened:
        await opened.apply(manifest(data={"a": "1"}), field_manager="me")
        assert (await opened.get(ConfigMap, NAMESPACE, "a")).data == {"a": "1"}
