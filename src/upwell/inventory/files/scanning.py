"""Finds the files of layers, each of which a worker reads, and keeps what it has found."""

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import IO
from weakref import WeakValueDictionary

from upwell.inventory.files.facts import facts_bytes, read_facts
from upwell.inventory.interface import InventoryError, LayerFacts, LayerFiles, Layers
from upwell.inventory.layers import MAX_UNPACKED_BYTES, LayerTask, read_layer_into
from upwell.machine.private_file import write_private
from upwell.oci import Descriptor, Digest
from upwell.workers.interface import MIB

FACTS_VERSION = 2
"""Raised with any limit and any fact: what was found under another is found anew."""
_MAX_FACTS_BYTES = 256 * MIB
_TASK = LayerTask(
    "upwell.inventory.files.archive",
    {
        "unpacked": MAX_UNPACKED_BYTES,
        "least": 2 * 1024 * MIB,
        "ratio": 32,
        "elf": 128 * MIB,
        "entries": 400_000,
        "characters": 200_000_000,
        "facts": _MAX_FACTS_BYTES,
    },
    _MAX_FACTS_BYTES,
    "elftools",
)


_SHARED_FACTS_BYTES = 32 * MIB
BOUNDED_TASK = replace(
    _TASK,
    argument={
        **_TASK.argument,
        "entries": 200_000,
        "characters": 100_000_000,
        "facts": _SHARED_FACTS_BYTES,
    },
    result_bytes=_SHARED_FACTS_BYTES,
)
"""For layers that strangers push to a server."""


class FileScanner:
    """Scanner of layers; `folder` keeps what was found by the digest of each, and may be deleted.

    Beyond `most_bytes` there, what was not used for longest goes. Two layers at most are read at
    once, and none twice at the same time.
    """

    def __init__(
        self, folder: Path | None = None, most_bytes: int | None = None, task: LayerTask = _TASK
    ) -> None:
        self._task = task
        self._folder = folder and folder / str(FACTS_VERSION)
        self._most_bytes = most_bytes
        self._slots = asyncio.Semaphore(2)
        self._locks: WeakValueDictionary[Digest, asyncio.Lock] = WeakValueDictionary()

    async def files(self, layers: Layers, layer: Descriptor) -> LayerFiles:
        """Return the files of a layer; raises InventoryError, or what `layers` raises."""
        async with self.facts(layers, layer) as found:
            return await asyncio.to_thread(read_facts, found.file, self._task.result_bytes)

    @asynccontextmanager
    async def facts(self, layers: Layers, layer: Descriptor) -> AsyncIterator[LayerFacts]:
        """Give the facts of a layer, none of which are in memory.

        Raises InventoryError, or what `layers` raises.
        """
        async with self._locks.setdefault(layer.digest, asyncio.Lock()):
            known = await asyncio.to_thread(self._load, layer.digest)
            if known is None:
                known = await self._found(layers, layer)
        with known.file:
            yield known

    async def _found(self, layers: Layers, layer: Descriptor) -> LayerFacts:
        file = tempfile.TemporaryFile(prefix="upwell-facts-")  # noqa: SIM115 - who asks closes it
        try:
            async with self._slots:
                await read_layer_into(file, layers, layer, self._task)
            return await asyncio.to_thread(self._keep, layer.digest, file)
        except BaseException:
            file.close()
            raise

    def _path(self, digest: Digest) -> Path | None:
        return self._folder and self._folder / f"{digest.algorithm}-{digest.hex}"

    def _load(self, digest: Digest) -> LayerFacts | None:
        path = self._path(digest)
        if path is None:
            return None
        with suppress(OSError):
            file = path.open("rb")
            try:
                found = self._opened(file)
                if self._most_bytes is not None:
                    os.utime(path)
            except (InventoryError, OSError):
                file.close()
            else:
                return found
        return None

    def _opened(self, file: IO[bytes]) -> LayerFacts:
        """Return facts from a file that was looked through; raises InventoryError or OSError."""
        file.seek(0)
        size = facts_bytes(file, self._task.result_bytes)
        file.seek(0)
        return LayerFacts(file, size)

    def _keep(self, digest: Digest, file: IO[bytes]) -> LayerFacts:
        """Keep what was found in a layer, and return it; raises InventoryError."""
        found = self._opened(file)
        path = self._path(digest)
        if path is None:
            return found
        with suppress(OSError):  # a disk that is full costs the next call, not this one
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_private(path, file, synced=False)
            self._trim(path.parent)
        file.seek(0)
        return found

    def _trim(self, folder: Path) -> None:
        if self._most_bytes is None:
            return
        known = sorted(
            (file.stat().st_mtime_ns, file.stat().st_size, file) for file in folder.iterdir()
        )
        size = sum(one for _, one, _ in known)
        for _, one, file in known[:-1]:
            if size <= self._most_bytes:
                return
            file.unlink(missing_ok=True)
            size -= one
