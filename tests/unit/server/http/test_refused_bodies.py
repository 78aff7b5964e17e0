"""Large bodies that are refused: nothing of them waits for the garbage collector."""

import asyncio
import gc
import socket
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.requests import Request
from starlette.types import Message
from tests.support.server.api_server import Api, serving

from upwell.oci import MediaType
from upwell.registry.embedded import EmbeddedRegistry
from upwell.server.distribution.routes import create_routes
from upwell.server.http.bounded_body import BodyError, BodyLimits, read_at_most
from upwell.server.http.limits import ServerLimits

SIZE = 1024 * 1024
MAPS = "/api/v1/namespaces/default/configmaps"
MANIFESTS = "/v2/default/app/manifests"
TYPE = MediaType.OCI_MANIFEST.encode()
TEXT = b'"' + b"y" * SIZE + b'"'
MISSING = b'{"digest": "sha256:' + b"0" * 64 + b'", "size": 1, "mediaType": "a/b"}'
JSON, MERGE = b"application/json", b"application/merge-patch+json"
REFUSED = {
    "of too many values": ("PUT", f"{MANIFESTS}/1", TYPE, b"[" + b"[]," * (SIZE // 3) + b"1]"),
    "no JSON": ("PUT", f"{MANIFESTS}/1", TYPE, TEXT[1:]),
    "of another digest": ("PUT", f"{MANIFESTS}/sha256:{'0' * 64}", TYPE, TEXT),
    "of blobs that are not here": (
        *("PUT", f"{MANIFESTS}/1", TYPE),
        b'{"schemaVersion": 2, "mediaType": "%b", "layers": [], "config": %b,'
        b' "annotations": {"x": %b}}' % (TYPE, MISSING, TEXT),
    ),
    "an object of no JSON": ("POST", MAPS, JSON, TEXT[1:]),
    "an object with faults": (
        "POST",
        MAPS,
        JSON,
        b'{"metadata": {"name": "a"}, "data": [%b]}' % TEXT,
    ),
    "a patch of nothing": ("PATCH", f"{MAPS}/none", MERGE, b'{"data": {"x": %b}}' % TEXT),
    "a patch with faults": (
        *("PATCH", f"{MAPS}/large", MERGE),
        b'{"data": {"x": [%b]}}' % TEXT,
    ),
}


@pytest.fixture
def collector() -> Iterator[None]:
    """Collect nothing for as long as the test lasts."""
    gc.collect()
    gc.disable()
    yield
    tracemalloc.stop()
    gc.enable()


def send(api: Api, method: str, path: str, kind: bytes, body: bytes) -> int:
    """Send a request, and return the status of the answer."""
    host, _, port = api.url.removeprefix("http://").partition(":")
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
    with socket.create_connection((host, int(port)), timeout=60) as client:
        client.sendall(head.encode() + b"Content-Type: %b\r\n\r\n" % kind)
        client.sendall(body)
        return int(client.recv(4096)[9:12])


@pytest.mark.usefixtures("collector")
async def test_a_refused_body_goes_with_its_answer(tmp_path: Path) -> None:
    registry = EmbeddedRegistry(tmp_path / "registry", "registry.internal:5000")
    await registry.recover()
    async with serving(
        ServerLimits(), internal=registry, registry_routes=create_routes(registry)
    ) as api:
        large = {"metadata": {"name": "large"}, "data": {"y": "y" * 100_000}}
        assert (await api.send("POST", MAPS, large)).status == 201
        for case, request in REFUSED.items():
            await asyncio.to_thread(send, api, *request)  # what is made once is made now
            tracemalloc.start(1)
            for _ in range(2):
                assert 400 <= await asyncio.to_thread(send, api, *request) < 500, case
            async with asyncio.timeout(20):
                while tracemalloc.get_traced_memory()[0] > SIZE // 2:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)  # memory tells nobody of its end
            tracemalloc.stop()


async def test_a_body_that_comes_too_slowly_is_refused() -> None:
    async def receive() -> Message:
        await asyncio.sleep(0)
        return {"type": "http.request", "body": b"x", "more_body": True}

    request = Request({"type": "http", "method": "PUT", "headers": []}, receive)
    slow = BodyLimits(grace=0.05, rate=1_000_000_000)
    with pytest.raises(BodyError, match="in time"):
        await read_at_most(SIZE * SIZE, request, slow)
