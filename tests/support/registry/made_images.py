"""Images made in memory of files, in either family of media types, and pushed to any registry."""

import gzip
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any

from upwell.oci import Digest, Index, Manifest, MediaType, Reference, parse_manifest
from upwell.oci.rebase.documents import NamedBase
from upwell.oci.rebase.images import LayeredImage
from upwell.registry.client.push import RegistryPusher, once

OCI = "application/vnd.oci.image"
DOCKER = "application/vnd.docker"


def tar_of(files: Mapping[str, bytes | str]) -> bytes:
    """Return an archive: a name that ends with / is a folder, a text the target of a link."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name.rstrip("/"))
            entry.mode = 0o755
            if name.endswith("/"):
                entry.type = tarfile.DIRTYPE
                archive.addfile(entry)
            elif isinstance(content, str):
                entry.type, entry.linkname = tarfile.SYMTYPE, content
                archive.addfile(entry)
            else:
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


@dataclass(frozen=True)
class MadeImage:
    """An image of one platform, with all its content."""

    manifest: Manifest
    config: bytes = field(repr=False)
    layers: tuple[bytes, ...] = field(repr=False)

    @property
    def layered(self) -> LayeredImage:
        return LayeredImage.parse(self.manifest, self.config)

    def named(self, name: str) -> NamedBase:
        return NamedBase(self.layered, Reference.parse(name), self.manifest.digest)


def made_image(
    *layers: bytes,
    settings: Mapping[str, Any] | None = None,
    history: Sequence[Mapping[str, Any]] | None = None,
    annotations: Mapping[str, str] | None = None,
    docker: bool = False,
    level: int = 9,
    **config: Any,
) -> MadeImage:
    """Return an image of uncompressed layers; `config` are further fields of its configuration."""
    stored = tuple(_compressed(layer, level) for layer in layers)
    document = {
        "architecture": "amd64",
        "os": "linux",
        "config": dict(settings or {}),
        "rootfs": {"type": "layers", "diff_ids": [_digest(layer) for layer in layers]},
        **({} if history is None else {"history": list(history)}),
        **config,
    }
    raw = json.dumps(document, indent=1).encode()  # no form that anybody else would write
    kinds = (
        (f"{DOCKER}.container.image.v1+json", f"{DOCKER}.image.rootfs.diff.tar.gzip")
        if docker
        else (f"{OCI}.config.v1+json", f"{OCI}.layer.v1.tar+gzip")
    )
    return MadeImage(_manifest(raw, stored, kinds, annotations, docker=docker), raw, stored)


def _manifest(
    config: bytes,
    layers: Sequence[bytes],
    kinds: tuple[str, str],
    annotations: Mapping[str, str] | None,
    *,
    docker: bool,
) -> Manifest:
    document = {
        "schemaVersion": 2,
        "mediaType": MediaType.DOCKER_MANIFEST if docker else MediaType.OCI_MANIFEST,
        "config": _descriptor(kinds[0], config),
        "layers": [_descriptor(kinds[1], layer) for layer in layers],
        **({"annotations": dict(annotations)} if annotations else {}),
    }
    manifest = parse_manifest(json.dumps(document, indent=3).encode())
    assert isinstance(manifest, Manifest)
    return manifest


def _descriptor(kind: str, content: bytes) -> dict[str, Any]:
    return {"mediaType": kind, "digest": _digest(content), "size": len(content)}


@lru_cache(maxsize=8)
def _compressed(layer: bytes, level: int) -> bytes:
    """Return a layer as it is stored; many images stand on one base."""
    return gzip.compress(layer, level, mtime=0)


@lru_cache(maxsize=16)
def _digest(content: bytes) -> str:
    return str(Digest.of(content))


def made_index(images: Mapping[str, MadeImage], *extra: Mapping[str, Any]) -> Index:
    """Return an index of images by architecture, with extra entries."""
    entries = [
        {
            **_descriptor(str(image.manifest.media_type), image.manifest.raw),
            "platform": {"os": "linux", "architecture": architecture},
        }
        for architecture, image in images.items()
    ]
    document = {
        "schemaVersion": 2,
        "mediaType": MediaType.OCI_INDEX,
        "manifests": [*entries, *extra],
        "annotations": {"of": "index"},
    }
    index = parse_manifest(json.dumps(document, indent=2).encode())
    assert isinstance(index, Index)
    return index


async def push_made(
    pusher: RegistryPusher, name: str, image: MadeImage, *, beside: str = ""
) -> Digest:
    """Push an image under a tag or its digest; what the repository `beside` has is mounted."""
    reference = Reference.parse(name)
    layers = zip(image.manifest.layers, image.layers, strict=True)
    for blob, content in [(image.manifest.config, image.config), *layers]:
        if not beside or not await pusher.mount(reference, blob.digest, beside):
            await pusher.push_blob(reference, blob, partial(once, content))
    await pusher.push_manifest(reference, image.manifest)
    return image.manifest.digest


async def push_made_index(
    pusher: RegistryPusher, name: str, images: Mapping[str, MadeImage], *extra: Mapping[str, Any]
) -> Index:
    """Push an index and its images."""
    reference = Reference.parse(name)
    for image in images.values():
        await push_made(pusher, str(reference.with_digest(image.manifest.digest)), image)
    index = made_index(images, *extra)
    await pusher.push_manifest(reference, index)
    return index
