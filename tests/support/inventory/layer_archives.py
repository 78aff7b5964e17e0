"""Image layers made in memory, and an image that hands them out."""

import gzip
import io
import tarfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from upwell.inventory.interface import Layers, Package
from upwell.inventory.layers import packages_of, read_layer
from upwell.oci import Descriptor, Digest

TAR = "application/vnd.oci.image.layer.v1.tar"


def layer(*files: tuple[str, str]) -> bytes:
    """Return a tar archive of these files, in this order."""
    return archive(*((name, text.encode()) for name, text in files))


def archive(*files: tuple[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in files:
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def compressed(content: bytes) -> bytes:
    return gzip.compress(content, mtime=0)


class ImageInMemory:
    """Implements Layers."""

    def __init__(self, *contents: bytes, media_type: str = TAR) -> None:
        self._contents: Mapping[Digest, bytes] = {Digest.of(raw): raw for raw in contents}
        self.layers = [Descriptor(media_type, Digest.of(raw), len(raw)) for raw in contents]
        self.opened = 0

    @asynccontextmanager
    async def open(self, layer: Descriptor) -> AsyncIterator[AsyncIterator[bytes]]:
        self.opened += 1
        yield _pieces(self._contents[layer.digest])


async def _pieces(content: bytes) -> AsyncIterator[bytes]:
    for at in range(0, len(content), 64 * 1024):
        yield content[at : at + 64 * 1024]


async def read_packages(image: Layers) -> list[Package]:
    """Read an image's packages, each layer for itself."""
    return packages_of([await read_layer(image, layer) for layer in image.layers])
