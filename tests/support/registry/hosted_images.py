"""Images that are pushed to a registry in process, through its port."""

import json
from collections.abc import AsyncIterator

from upwell.oci import Digest, MediaType
from upwell.registry.hosting import HostedRegistry, ManifestPush

CONFIG = b'{"os":"linux"}'


async def body(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


def image(mark: str = "") -> bytes:
    config = {"mediaType": "c", "digest": str(Digest.of(CONFIG)), "size": len(CONFIG)}
    document = {"schemaVersion": 2, "mediaType": MediaType.OCI_MANIFEST, "config": config}
    return json.dumps({**document, "layers": [], "annotations": {"mark": mark}}).encode()


def index(*manifests: bytes) -> bytes:
    listed = [
        {"mediaType": MediaType.OCI_MANIFEST, "digest": str(Digest.of(raw)), "size": len(raw)}
        for raw in manifests
    ]
    return json.dumps({"schemaVersion": 2, "manifests": listed}).encode()


async def push_blob(registry: HostedRegistry, repository: str, content: bytes) -> Digest:
    upload = await registry.start_upload(repository)
    await registry.append(repository, upload, body(content))
    await registry.finish_upload(repository, upload, Digest.of(content))
    return Digest.of(content)


async def push(
    registry: HostedRegistry, repository: str, tag: str | None = "v1", mark: str = ""
) -> Digest:
    await push_blob(registry, repository, CONFIG)
    raw = image(mark)
    media_type = str(MediaType.OCI_MANIFEST)
    await registry.put_manifest(ManifestPush(repository, raw, media_type, tag, actor="alice"))
    return Digest.of(raw)
