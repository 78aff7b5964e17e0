"""Objects that somebody has edited into nonsense, by a client that leaves them out."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest

from upwell.api.builds.build import Build
from upwell.api.codec import encode
from upwell.api.meta import ObjectKey
from upwell.api.pipeline import Pipeline
from upwell.store.interface import Change, UnreadableError
from upwell.store.kubernetes import KubernetesStore
from upwell.store.unreadable import UnreadableObjects, named_alone

KEY = ObjectKey("Build", "shop", "a")


def build(version: int, spec: Any) -> dict[str, Any]:
    metadata = {"name": "a", "namespace": "shop", "uid": "u", "resourceVersion": str(version)}
    return {"metadata": metadata, "spec": spec}


NONSENSE = {"triggeredBy": 7}
POSITION = {"metadata": {"resourceVersion": "9"}, "items": []}
"""Answer to how far the server is, which is asked for before each watch."""


@asynccontextmanager
async def answering(
    *answers: Mapping[str, Any] | Sequence[Mapping[str, Any]], lenient: UnreadableObjects | None
) -> AsyncIterator[KubernetesStore]:
    """Serve one answer after another: an object, or the lines of a watch."""
    left = list(answers)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        answer = left.pop(0)
        lines = [answer] if isinstance(answer, Mapping) else answer
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
        writer.write(b"\n".join(json.dumps(line).encode() for line in lines) + b"\n")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server, KubernetesStore(url, lenient=lenient) as store:
        yield store


async def test_a_watch_passes_over_what_became_nonsense_and_tells_its_end() -> None:
    events = [
        {"type": "MODIFIED", "object": build(2, {})},
        {"type": "MODIFIED", "object": build(3, NONSENSE)},
        {"type": "DELETED", "object": build(4, NONSENSE)},
        {"type": "ADDED", "object": build(5, {})},
    ]
    found = UnreadableObjects()
    async with (
        answering(POSITION, events, lenient=found) as store,
        aclosing(store.watch(Build, since="1")) as watch,
    ):
        seen = [await anext(watch) for _ in range(3)]
    assert [(one.change, one.resource.resource_version) for one in seen] == [
        (Change.MODIFIED, "2"),
        (Change.DELETED, "4"),
        (Change.ADDED, "5"),
    ]
    assert {one.resource.key for one in seen} == {KEY}
    assert found.all() == []


async def test_what_became_nonsense_is_named_with_its_field(
    caplog: pytest.LogCaptureFixture,
) -> None:
    again = {"type": "MODIFIED", "object": build(3, NONSENSE)}
    after = {"type": "ADDED", "object": {**build(4, {}), "metadata": {"name": "b"}}}
    found = UnreadableObjects()
    async with (
        answering(POSITION, [again, again, after], lenient=found) as store,
        aclosing(store.watch(Build, since="1")) as watch,
    ):
        await anext(watch)
    [one] = found.all()
    assert (one.key, one.uid, one.resource_version) == (KEY, "u", "3")
    assert "spec.triggeredBy" in one.fault
    assert len(caplog.records) == 1


async def test_a_list_tells_what_it_leaves_out() -> None:
    page = {"metadata": {"resourceVersion": "9"}, "items": [build(3, NONSENSE)]}
    whole = {"metadata": {"resourceVersion": "10"}, "items": []}
    found = UnreadableObjects()
    async with answering(page, whole, lenient=found) as store:
        listing = await store.list(Build)
        assert (list(listing.items), listing.unreadable) == ([], [KEY])
        assert [one.key for one in found.all()] == [KEY]
        await store.list(Build)
    assert found.all() == []


@pytest.mark.parametrize("lenient", [None, UnreadableObjects()], ids=["strict", "lenient"])
async def test_to_get_it_says_what_is_wrong(lenient: UnreadableObjects | None) -> None:
    async with answering(build(3, NONSENSE), lenient=lenient) as store:
        with pytest.raises(UnreadableError, match=r"Build shop/a .*spec\.triggeredBy"):
            await store.get(Build, "shop", "a")


@pytest.mark.parametrize("kind", [Build, Pipeline])
def test_what_is_known_by_name_alone_can_be_sent_on(kind: type[Build | Pipeline]) -> None:
    alone = named_alone(kind, {"metadata": {"name": "a", "labels": 3}, "spec": 1})
    assert encode(alone)["metadata"]["name"] == "a"
