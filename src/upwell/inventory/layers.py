"""Finds the package databases in an image's layers (image-spec, layer.md)."""

import asyncio
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import IO

from upwell.inventory.databases import is_database, parse_database
from upwell.inventory.interface import InventoryError, Layers, Package

MAX_LAYER_BYTES = 8 * 1024**3
MAX_DATABASE_BYTES = 64 * 1024**2
MAX_ENTRIES = 2_000_000
_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"


async def read_packages(layers: Layers) -> list[Package]:
    """Return the packages of the image, sorted; each layer is read once, none kept.

    Raises InventoryError; what the layers' source raises goes through.
    """
    files: dict[str, str] = {}
    for layer in layers.layers:
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
            await asyncio.to_thread(_apply_layer, file, str(layer.digest), files)
    return _packages(files)


def _packages(files: Mapping[str, str]) -> list[Package]:
    found = {package for path, text in files.items() for package in parse_database(path, text)}
    return sorted(found)


def _apply_layer(file: IO[bytes], name: str, files: dict[str, str]) -> None:
    """Lay one layer over `files`, which holds the databases of those below it."""
    try:
        with tarfile.open(fileobj=file, mode="r|*") as archive:
            for count, entry in enumerate(archive):
                if count > MAX_ENTRIES:
                    raise InventoryError(f"layer {name} has more than {MAX_ENTRIES} entries")
                _apply_entry(archive, entry, files)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise InventoryError(f"layer {name} is not a tar archive that can be read") from error


def _apply_entry(archive: tarfile.TarFile, entry: tarfile.TarInfo, files: dict[str, str]) -> None:
    path = PurePosixPath(entry.name.lstrip("/")).as_posix().removeprefix("./")
    folder, _, base = path.rpartition("/")
    if base == _OPAQUE:
        _remove(files, folder)
    elif base.startswith(_WHITEOUT):
        _remove(files, f"{folder}/{base.removeprefix(_WHITEOUT)}")
    elif entry.isfile() and is_database(path):
        if entry.size > MAX_DATABASE_BYTES:
            raise InventoryError(f"{path} is larger than {MAX_DATABASE_BYTES} bytes")
        content = archive.extractfile(entry)
        if content is not None:
            files[path] = content.read().decode(errors="replace")


def _remove(files: dict[str, str], path: str) -> None:
    for known in [k for k in files if k == path or k.startswith(f"{path}/")]:
        del files[known]
