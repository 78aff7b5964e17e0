"""Finds the package databases in an image's layers (image-spec, layer.md)."""

import asyncio
import gzip
import tarfile
import tempfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import IO, cast

from upwell.inventory.databases import is_database, parse_database
from upwell.inventory.interface import InventoryError, Layers, Package
from upwell.oci import Descriptor

MAX_LAYER_BYTES = 8 * 1024**3
MAX_UNPACKED_BYTES = 64 * 1024**3
MAX_DATABASE_BYTES = 64 * 1024**2
MAX_ENTRIES = 2_000_000
_GZIP = b"\x1f\x8b"
_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"


async def read_layer(layers: Layers, layer: Descriptor) -> "LayerContents":
    """Read what one layer says about package databases; the layer is read once and not kept.

    Raises InventoryError; what the layers' source raises goes through.
    """
    if "zstd" in layer.media_type:
        raise InventoryError(f"layer {layer.digest} is compressed with zstd, which is not read")
    with tempfile.TemporaryFile(prefix="upwell-layer-") as file:
        size = 0
        async with layers.open(layer) as chunks:
            async for chunk in chunks:
                size += len(chunk)
                if size > MAX_LAYER_BYTES:
                    raise InventoryError(f"layer {layer.digest} is too large to be read")
                await asyncio.to_thread(file.write, chunk)
        file.seek(0)
        return await asyncio.to_thread(_unpack, file, str(layer.digest))


def packages_of(contents: Iterable["LayerContents"]) -> list[Package]:
    """Return the packages of an image whose layers, lowest first, say this; sorted.

    A layer's whiteouts hide what is below, wherever they stand in it, and never what it adds.
    """
    files: dict[str, str] = {}
    for layer in contents:
        for path in layer.hidden:
            _remove(files, path)
        files |= layer.databases
    return sorted({one for path, text in files.items() for one in parse_database(path, text)})


def _unpack(file: IO[bytes], name: str) -> "LayerContents":
    contents = LayerContents({}, set())
    try:
        with _uncompressed(file) as tar, tarfile.open(fileobj=tar, mode="r|") as archive:
            unpacked = 0
            for count, entry in enumerate(archive):
                unpacked += entry.size
                if count > MAX_ENTRIES or unpacked > MAX_UNPACKED_BYTES:
                    raise InventoryError(f"layer {name} is too large to be read")
                contents.add(archive, entry)
    except (tarfile.TarError, zlib.error, EOFError, OSError, ValueError) as error:
        raise InventoryError(f"layer {name} is not a tar archive that can be read") from error
    return contents


def _uncompressed(file: IO[bytes]) -> IO[bytes]:
    """Open what gzip may have compressed, whatever the media type says.

    `tarfile` reads gzip too, but answers a header that is cut short with a TypeError.
    """
    is_gzip = file.read(len(_GZIP)) == _GZIP
    file.seek(0)
    return cast("IO[bytes]", gzip.GzipFile(fileobj=file)) if is_gzip else file


@dataclass(frozen=True, slots=True)
class LayerContents:
    """Package databases in one layer."""

    databases: dict[str, str]
    """Text by path."""
    hidden: set[str]
    """Paths below which nothing of the lower layers is left; "" is the root."""

    def add(self, archive: tarfile.TarFile, entry: tarfile.TarInfo) -> None:
        """Take an entry in; raises InventoryError for a database beyond the limit."""
        path = PurePosixPath(entry.name.lstrip("/")).as_posix()
        folder, _, base = path.rpartition("/")
        if base == _OPAQUE:
            self.hidden.add(folder)
        elif base.startswith(_WHITEOUT):
            hidden = base.removeprefix(_WHITEOUT)
            self.hidden.add(f"{folder}/{hidden}" if folder else hidden)
        elif entry.isfile() and is_database(path):
            if entry.size > MAX_DATABASE_BYTES:
                raise InventoryError(f"{path} is larger than {MAX_DATABASE_BYTES} bytes")
            content = archive.extractfile(entry)
            if content is not None:
                self.databases[path] = content.read().decode(errors="replace")


def _remove(files: dict[str, str], path: str) -> None:
    for known in [k for k in files if not path or k == path or k.startswith(f"{path}/")]:
        del files[known]
