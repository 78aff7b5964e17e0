"""Lists of an API server: a page of many objects is decoded in turns."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from upwell.api.core import ConfigMap
from upwell.api.meta import Resource
from upwell.store.kubernetes import KubernetesStore
from upwell.store.unreadable import UnreadableObjects


class CountedObjects(UnreadableObjects):
    """Counts what is decoded."""

    def __init__(self) -> None:
        super().__init__()
        self.decoded = 0

    def decode[R: Resource](self, kind: type[R], document: Mapping[str, Any]) -> R | None:
        self.decoded += 1
        return super().decode(kind, document)


async def test_a_page_that_is_decoded_lets_others_go_on() -> None:
    items = [{"metadata": {"name": f"item-{number:03}"}} for number in range(100)]
    page = json.dumps({"metadata": {"resourceVersion": "7"}, "items": items}).encode()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + page)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url, counted = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", CountedObjects()
    async with server, KubernetesStore(url, lenient=counted) as store:
        listing = asyncio.create_task(store.list(ConfigMap))
        most = 0
        while not listing.done():
            before = counted.decoded
            await asyncio.sleep(0)
            most = max(most, counted.decoded - before)
    assert len(listing.result().items) == 100
    assert most == 10
