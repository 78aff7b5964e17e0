"""Images with layers, pushed to any registry through our own pusher."""

import gzip
import io
import json
import tarfile
from collections.abc import AsyncIterator, Callable

from upwell.oci import Descriptor, Digest, Index, Manifest, MediaType, Reference, parse_manifest
from upwell.registry.client.push import RegistryPusher

CONFIG = b'{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}'


def opened(content: bytes) -> Callable[[], AsyncIterator[bytes]]:
    async def chunks() -> AsyncIterator[bytes]:
        for at in range(0, len(content), 1000):
            yield content[at : at + 1000]

    return chunks


def blob_of(content: bytes) -> Descriptor:
    return Descriptor("application/octet-stream", Digest.of(content), len(content))


async def push_layered(
    pusher: RegistryPusher, name: str, *layers: bytes, config: bytes = CONFIG
) -> Manifest:
    """Push an image with these layers under `registry/repository:tag`."""
    reference = Reference.parse(name)
    for content in (config, *layers):
        await pusher.push_blob(reference, blob_of(content), opened(content))
    kinds = ["config.v1+json", *["layer.v1.tar+gzip" for _ in layers]]
    parts = [
        {
            "mediaType": f"application/vnd.oci.image.{kind}",
            "digest": str(Digest.of(content)),
            "size": len(content),
        }
        for kind, content in zip(kinds, (config, *layers), strict=True)
    ]
    document = {
        "schemaVersion": 2,
        "mediaType": MediaType.OCI_MANIFEST,
        "config": parts[0],
        "layers": parts[1:],
    }
    manifest = parse_manifest(json.dumps(document).encode())
    assert isinstance(manifest, Manifest)
    await pusher.push_manifest(reference, manifest)
    return manifest


async def push_index(pusher: RegistryPusher, name: str, **children: Manifest) -> Index:
    """Push an index of images that the repository holds, by architecture."""
    entries = [
        {
            "mediaType": str(child.media_type),
            "digest": str(child.digest),
            "size": len(child.raw),
            "platform": {"os": "linux", "architecture": architecture},
        }
        for architecture, child in children.items()
    ]
    document = {"schemaVersion": 2, "mediaType": MediaType.OCI_INDEX, "manifests": entries}
    index = parse_manifest(json.dumps(document).encode())
    assert isinstance(index, Index)
    await pusher.push_manifest(Reference.parse(name), index)
    return index


def layer_of(files: dict[str, bytes]) -> tuple[bytes, Digest]:
    """Return a gzipped layer with these executable files, and its diff_id."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o755
            archive.addfile(entry, io.BytesIO(content))
    return gzip.compress(plain.getvalue(), mtime=0), Digest.of(plain.getvalue())
