"""A registry of one image, whose layer comes in pieces with pauses between them."""

import asyncio
import gzip
import io
import json
import os
import tarfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web
from aiohttp.test_utils import TestServer

from upwell.oci import Digest

_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
_PIECE_BYTES = 64 * 1024


@asynccontextmanager
async def slow_registry(*, pieces: int, pause: float) -> AsyncIterator[tuple[str, Digest]]:
    """Serve while the block lasts; give the registry and the image's digest.

    `pause`: seconds before each piece of the layer.
    """
    tree = io.BytesIO()
    with tarfile.open(fileobj=tree, mode="w") as archive:
        content = os.urandom(pieces * _PIECE_BYTES)
        entry = tarfile.TarInfo("content")
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    layer = gzip.compress(tree.getvalue(), compresslevel=1)
    rootfs = {"type": "layers", "diff_ids": [str(Digest.of(tree.getvalue()))]}
    config = json.dumps(
        {"architecture": "amd64", "os": "linux", "config": {}, "rootfs": rootfs}
    ).encode()
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": _MANIFEST,
            "config": _descriptor(_CONFIG, config),
            "layers": [_descriptor(_LAYER, layer)],
        }
    ).encode()

    async def serve(request: web.Request) -> web.StreamResponse:
        if request.path == "/v2/":
            return web.json_response({})
        if "/manifests/" in request.path:
            return web.Response(body=manifest, content_type=_MANIFEST)
        if request.path.endswith(str(Digest.of(config))):
            return web.Response(body=config)
        response = web.StreamResponse(headers={"Content-Length": str(len(layer))})
        await response.prepare(request)
        for at in range(0, len(layer), _PIECE_BYTES):
            await asyncio.sleep(pause)
            await response.write(layer[at : at + _PIECE_BYTES])
        return response

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", serve)
    async with TestServer(app, host="127.0.0.1") as server:
        yield f"127.0.0.1:{server.port}", Digest.of(manifest)


def _descriptor(media_type: str, content: bytes) -> dict[str, str | int]:
    return {"mediaType": media_type, "digest": str(Digest.of(content)), "size": len(content)}
