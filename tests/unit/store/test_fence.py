"""Writes of what a leader has started need its term when they are sent; those of clients do not."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from tests.support.store.leader_terms import Term

from upwell.api.core import ConfigMap
from upwell.api.image import ImageStream
from upwell.api.meta import ObjectMeta
from upwell.api.pod import Pod
from upwell.store.fence import fenced_context, require_fence
from upwell.store.interface import StoreError, UnavailableError
from upwell.store.kubernetes import KubernetesStore


@dataclass
class ApiServer:
    """An API server that knows one ConfigMap; `received` are the requests that came."""

    received: list[str] = field(default_factory=list)
    breaks: Callable[[str], bool] = field(default=lambda _: False)
    """Asked for each request; True: the connection is closed without an answer."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        stored = json.dumps(
            {"metadata": {"name": "a", "namespace": "shop", "uid": "u", "resourceVersion": "7"}}
        ).encode()
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                size = next(
                    (int(x[16:]) for x in head.split("\r\n") if x.startswith("Content-Length: ")),
                    0,
                )
                await reader.readexactly(size)
                method = head.partition(" ")[0]
                self.received.append(method)
                if self.breaks(method):
                    break
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(stored))
                writer.write(stored)
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()


@asynccontextmanager
async def connected(server: ApiServer) -> AsyncIterator[KubernetesStore]:
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    async with listening, KubernetesStore(url, before_write=require_fence) as store:
        yield store


SETTINGS = ConfigMap(metadata=ObjectMeta(name="a", namespace="shop", resource_version="7"))
STREAM = ImageStream(metadata=ObjectMeta(name="a", namespace="shop", resource_version="7"))


async def _command(store: KubernetesStore) -> None:
    async with store.converse(Pod, "shop", "a", "exec", [], "v4.channel.k8s.io"):
        pass


WRITES: dict[str, Callable[[KubernetesStore], Awaitable[object]]] = {
    "create": lambda store: store.create(SETTINGS),
    "update": lambda store: store.update(SETTINGS),
    "status": lambda store: store.update_status(STREAM),
    "delete": lambda store: store.delete(ConfigMap, "shop", "a"),
    "patch": lambda store: store.patch(ConfigMap, "shop", "a", {}),
    "raw": lambda store: store.send_raw("DELETE", "/api/v1/namespaces/shop/pods/a"),
    "command": _command,
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
async def test_nothing_of_a_term_is_sent_after_it(
    write: Callable[[KubernetesStore], Awaitable[object]],
) -> None:
    server, term, ended = ApiServer(), Term(), asyncio.Event()

    async with connected(server) as store:

        async def led() -> None:
            await ended.wait()
            # Started by what is led: it is behind the same fence.
            await asyncio.create_task(_awaited(write(store)))

        task = asyncio.create_task(led(), context=fenced_context(term))
        term.over = True
        ended.set()
        with pytest.raises(UnavailableError, match="over"):
            await task
        assert server.received == []


async def test_what_was_decided_within_a_term_is_not_sent_again_after_it() -> None:
    """A connection that breaks has the write wait for another one: the term may end meanwhile."""
    term = Term()

    def ends(method: str) -> bool:
        term.over = method == "PUT"
        return term.over

    server = ApiServer(breaks=ends)
    async with connected(server) as store:

        async def led() -> None:
            await store.get(ConfigMap, "shop", "a")  # leaves a connection
            await store.update(SETTINGS)

        with pytest.raises(UnavailableError, match="over"):
            await asyncio.create_task(led(), context=fenced_context(term))
    assert server.received == ["GET", "PUT"]


async def test_what_is_read_needs_no_term() -> None:
    server = ApiServer()
    async with connected(server) as store:
        read = store.get(ConfigMap, "shop", "a")
        found = await asyncio.create_task(_awaited(read), context=fenced_context(Term(over=True)))
    assert found.uid == "u"


async def test_clients_write_whoever_leads() -> None:
    server = ApiServer()
    fenced_context(Term(over=True))

    async with connected(server) as store:
        await store.update(SETTINGS)

    assert server.received == ["PUT"]


async def test_an_earlier_term_stays_over_in_a_new_one() -> None:
    server, earlier, later = ApiServer(), Term(over=True), Term()

    async with connected(server) as store:
        written = _awaited(store.update(SETTINGS))
        await asyncio.create_task(written, context=fenced_context(later))
        with pytest.raises(StoreError):
            await asyncio.create_task(
                _awaited(store.update(SETTINGS)), context=fenced_context(earlier)
            )
    assert server.received == ["PUT"]


async def _awaited[T](work: Awaitable[T]) -> T:
    return await work
