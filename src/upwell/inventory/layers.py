"""Finds the packages in an image's layers, each of which a worker reads."""

import asyncio
import io
import tempfile
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import IO, Any

from upwell.inventory.interface import InventoryError, InventoryFailedError, Layers, Package
from upwell.inventory.zstd import is_readable
from upwell.oci import Descriptor
from upwell.workers.interface import MIB, WorkerError, WorkerLimits
from upwell.workers.runner import run_worker, run_worker_into

MAX_LAYER_BYTES = 8 * 1024**3
MAX_UNPACKED_BYTES = 64 * 1024**3
MAX_DATABASE_BYTES = 64 * 1024**2
MAX_ENTRIES = 2_000_000
MAX_PACKAGES = 50_000
LIMITS_VERSION = 3
"""Raised with any limit, with what can be read, and with what a failure says: what had failed under
another is tried anew."""
_MEMORY_BYTES = 768 * MIB
_BYTES_PER_SECOND = 4 * MIB
"""Of a compressed layer, on a slow machine."""
_LEAST_SECONDS = 30
_WAIT = 4
"""A worker may wait for the processor, on a busy machine, for this much longer than it uses it."""


class UnsupportedLayerError(InventoryError):
    """The manifest says of a layer what is not read; another may say else of the same content."""


@dataclass(frozen=True, slots=True)
class LayerTask:
    """Task of a worker that reads one layer."""

    module: str
    argument: Mapping[str, Any]
    result_bytes: int = 4 * MIB
    library: str = ""
    """Installed package that the task needs besides the standard library."""
    result_values: int = 6 * MAX_PACKAGES


async def read_layer(layers: Layers, layer: Descriptor) -> "LayerContents":
    """Read what one layer says about packages; the layer is read once and not kept.

    Raises InventoryError; what the layers' source raises goes through.
    """
    argument = {
        "unpacked": MAX_UNPACKED_BYTES,
        "database": MAX_DATABASE_BYTES,
        "entries": MAX_ENTRIES,
        "packages": MAX_PACKAGES,
    }
    task = LayerTask("upwell.inventory.layer_archive", argument)
    found = await run_on_layer(layers, layer, task)
    return await asyncio.to_thread(LayerContents.parse, found)


async def run_on_layer(layers: Layers, layer: Descriptor, task: LayerTask) -> Any:
    """Fetch a layer into a file without a name, let a worker read it, and return its result.

    Raises InventoryError; what the layers' source raises goes through.
    """
    async with _fetched(layers, layer) as file:
        limits = await _limits(file, task)
        return await run_worker(task.module, file, task.argument, limits, library=task.library)


async def read_layer_into(
    target: IO[bytes], layers: Layers, layer: Descriptor, task: LayerTask
) -> None:
    """Fetch a layer as `run_on_layer` does, and write what the worker returns into a file.

    Raises InventoryError; what the layers' source raises goes through.
    """
    async with _fetched(layers, layer) as file:
        limits = await _limits(file, task)
        await run_worker_into(target, task.module, file, task.argument, limits, task.library)


@asynccontextmanager
async def _fetched(layers: Layers, layer: Descriptor) -> AsyncIterator[IO[bytes]]:
    """Give the content of a layer to a worker, whose errors are raised as InventoryError."""
    if "zstd" in layer.media_type and not is_readable():
        why = (
            f"layer {layer.digest.short} is compressed with zstd: install libzstd1 to have it read"
        )
        raise UnsupportedLayerError(why)
    with tempfile.TemporaryFile(prefix="upwell-layer-") as file:
        size = 0
        async with layers.open(layer) as chunks:
            async for chunk in chunks:
                size += len(chunk)
                if size > MAX_LAYER_BYTES:
                    # Bytes of which nobody knows yet whose they are: a digest tells at the end.
                    raise UnsupportedLayerError(
                        f"layer {layer.digest.short} is too large to be read"
                    )
                await asyncio.to_thread(file.write, chunk)
        try:
            yield file
        except WorkerError as error:
            raised = InventoryError if error.final else InventoryFailedError
            raise raised(f"layer {layer.digest.short}: {error}") from error


async def _limits(file: IO[bytes], task: LayerTask) -> WorkerLimits:
    """Return what a worker may take for a file, and go to its beginning."""
    size = await asyncio.to_thread(file.seek, 0, io.SEEK_END)
    await asyncio.to_thread(file.seek, 0)
    seconds = _LEAST_SECONDS + size // _BYTES_PER_SECOND
    return WorkerLimits(
        _MEMORY_BYTES, seconds, seconds * _WAIT, task.result_bytes, task.result_values
    )


def packages_of(contents: Iterable["LayerContents"]) -> list[Package]:
    """Return the packages of an image whose layers, lowest first, say this; sorted.

    A layer's whiteouts hide what is below, wherever they stand in it, and never what it adds.
    """
    databases: dict[str, tuple[Package, ...]] = {}
    for layer in contents:
        if layer.hidden:
            databases = {path: found for path, found in databases.items() if not layer.hides(path)}
        databases |= layer.databases
    return sorted({package for found in databases.values() for package in found})


@dataclass(frozen=True, slots=True)
class LayerContents:
    """Packages that one layer names."""

    databases: dict[str, tuple[Package, ...]]
    """By the path of the package database."""
    hidden: frozenset[str]
    """Paths below which nothing of the lower layers is left; "" is the root."""

    @classmethod
    def parse(cls, data: Any) -> "LayerContents":
        """Return what a worker found; raises InventoryError for what no worker of ours says."""
        match data:
            case {"databases": dict(databases), "hidden": list(hidden)} if all(
                isinstance(path, str) for path in (*databases, *hidden)
            ):
                found = {path: tuple(map(_package, rows)) for path, rows in databases.items()}
                return cls(found, frozenset(hidden))
            case _:
                raise InventoryError("a worker answered what is no list of packages")

    def data(self) -> dict[str, Any]:
        """Return what `parse` reads."""
        rows = {
            path: [(one.name, one.version, one.architecture, one.source) for one in found]
            for path, found in self.databases.items()
        }
        return {"databases": rows, "hidden": sorted(self.hidden)}

    def hides(self, path: str) -> bool:
        """Return True if nothing is left of what lower layers have at `path`."""
        parts = path.split("/")
        above = ("/".join(parts[:count]) for count in range(len(parts) + 1))
        return any(one in self.hidden for one in above)


def _package(row: Any) -> Package:
    match row:
        case [str(name), str(version), str(architecture), str(source)]:
            return Package(name, version, architecture, source)
        case _:
            raise InventoryError("a worker answered what is no package")
