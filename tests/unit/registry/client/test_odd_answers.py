"""Registries that break off, lie about lengths, forget uploads, or have manifests of odd forms."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from functools import partial

import pytest
from tests.support.registry.docker_registry import CONFIG, image_manifest

from upwell.oci import Descriptor, Digest, Manifest, MediaType, Reference
from upwell.outbound.dialing import unrestricted
from upwell.registry.client.client import RegistryClient
from upwell.registry.client.push import RegistryPusher, once
from upwell.registry.errors import (
    DigestMismatchError,
    RegistryError,
    RegistryUnavailableError,
)

IMAGE = image_manifest(CONFIG)
LAYER = b"layer" * 5_000
CREATED = b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n"
UPLOAD = (
    b"HTTP/1.1 202 Accepted\r\nLocation: /v2/team/app/blobs/uploads/1\r\nContent-Length: 0\r\n\r\n"
)


def given(body: bytes, *, length: int | None = None, media_type: str = "a/b") -> bytes:
    """Return a whole answer, which may state another length."""
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {media_type}\r\nContent-Length: "
    return f"{head}{len(body) if length is None else length}\r\n\r\n".encode() + body


def refused(status: int, code: str) -> bytes:
    body = json.dumps({"errors": [{"code": code, "message": "unknown"}]}).encode()
    return f"HTTP/1.1 {status} No\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


@asynccontextmanager
async def answering(answers: Mapping[str, bytes]) -> AsyncIterator[Reference]:
    """Answer each method with these bytes, and hang up."""

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            first = await reader.readexactly(1)
            if first != b"\x16":  # a TLS hello: there is none here
                head = first + await reader.readuntil(b"\r\n\r\n")
                length = head.lower().partition(b"content-length: ")[2].partition(b"\r")[0]
                await reader.readexactly(int(length or b"0"))
                writer.write(answers[head.split(b" ", 1)[0].decode()])
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(listen, "127.0.0.1", 0)
    try:
        yield Reference.parse(f"127.0.0.1:{server.sockets[0].getsockname()[1]}/team/app:1")
    finally:
        server.close()


@pytest.fixture
async def client() -> AsyncIterator[RegistryClient]:
    async with RegistryClient(unrestricted()) as client:
        yield client


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (given(LAYER[:9_000], length=len(LAYER)), RegistryUnavailableError),
        (given(LAYER, length=9_000), DigestMismatchError),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2710\r\n" + LAYER[:10_000],
            RegistryUnavailableError,
        ),
        (given(LAYER[::-1]), DigestMismatchError),
    ],
    ids=["states more", "states less", "breaks off in a chunk", "other content"],
)
async def test_a_blob_that_is_not_whole_is_never_taken_for_one(
    client: RegistryClient, answer: bytes, expected: type[RegistryError]
) -> None:
    digest = Digest.of(LAYER)
    async with answering({"GET": answer}) as app:
        with pytest.raises(expected):
            await client.blob(app, digest, 100_000)
        with pytest.raises(expected):
            await streamed(client, app, digest)


async def streamed(client: RegistryClient, app: Reference, digest: Digest) -> bytes:
    async with client.open_blob(app, digest) as chunks:
        return b"".join([chunk async for chunk in chunks])


@pytest.mark.parametrize(
    "finish",
    [refused(404, "BLOB_UPLOAD_UNKNOWN"), refused(416, "BLOB_UPLOAD_INVALID")],
    ids=["404", "416"],
)
async def test_a_forgotten_upload_may_be_begun_again(client: RegistryClient, finish: bytes) -> None:
    blob = Descriptor("a/b", Digest.of(LAYER), len(LAYER))
    async with answering({"POST": UPLOAD, "PUT": finish}) as app:
        pusher = RegistryPusher(client.connection)
        with pytest.raises(RegistryUnavailableError, match="lost the upload") as caught:
            await pusher.push_blob(app, blob, partial(once, LAYER))
    assert caught.value.retryable


async def test_a_manifest_that_is_written_oddly_keeps_its_digest(client: RegistryClient) -> None:
    document = json.loads(IMAGE.raw)
    foreign = {
        "mediaType": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        "digest": str(Digest.of(b"foreign")),
        "size": 7,
        "urls": ["https://vendor.test/layer"],
    }
    document["layers"] = [*document["layers"], foreign]
    document["x"] = "\u00e9"
    raw = b"\n " + json.dumps(document, indent=3, sort_keys=True).encode() + b"\n\n"
    async with answering({"GET": given(raw, media_type=str(IMAGE.media_type))}) as app:
        found = await client.manifest(app)
    assert isinstance(found, Manifest)
    assert (found.raw, found.digest) == (raw, Digest.of(raw))
    assert found.layers[-1].urls == ("https://vendor.test/layer",)


async def test_content_may_be_named_by_sha512(client: RegistryClient) -> None:
    named = Digest.parse(f"sha512:{hashlib.sha512(LAYER).hexdigest()}")
    manifest = Digest.parse(f"sha512:{hashlib.sha512(IMAGE.raw).hexdigest()}")
    async with answering({"GET": given(LAYER)}) as app:
        assert await client.blob(app, named, 100_000) == LAYER
    async with answering({"GET": given(LAYER[1:])}) as app:
        with pytest.raises(DigestMismatchError):
            await client.blob(app, named, 100_000)
    async with answering({"GET": given(IMAGE.raw, media_type=str(MediaType.OCI_MANIFEST))}) as app:
        assert (await client.manifest(app.with_digest(manifest))).raw == IMAGE.raw
