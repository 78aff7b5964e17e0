"""Finds the files of layers, each of which a worker reads, and keeps what it has found."""

import asyncio
import json
import os
import zlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from upwell.inventory.interface import (
    ElfFacts,
    EntryKind,
    InventoryError,
    LayerEntry,
    LayerFiles,
    Layers,
)
from upwell.inventory.layers import MAX_UNPACKED_BYTES, LayerTask, run_on_layer
from upwell.machine.private_file import write_private
from upwell.oci import Descriptor, Digest
from upwell.workers.interface import MIB

FACTS_VERSION = 2
"""Raised with any limit and any fact: what was found under another is found anew."""
_MAX_RESULT_BYTES = 256 * MIB
_TASK = LayerTask(
    "upwell.inventory.files.archive",
    {
        "unpacked": MAX_UNPACKED_BYTES,
        "least": 2 * 1024 * MIB,
        "ratio": 32,
        "elf": 128 * MIB,
        "entries": 400_000,
        "characters": 200_000_000,
    },
    _MAX_RESULT_BYTES,
    "elftools",
)


BOUNDED_TASK = replace(
    _TASK,
    argument={**_TASK.argument, "entries": 200_000, "characters": 100_000_000},
    result_bytes=32 * MIB,
)
"""For a process that others share, which decodes each result in a third of a second at most."""


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
        async with self._locks.setdefault(layer.digest, asyncio.Lock()):
            known = await asyncio.to_thread(self._load, layer.digest)
            if known is not None:
                return known
            async with self._slots:
                raw = await run_on_layer(layers, layer, self._task)
            found = await asyncio.to_thread(layer_files, raw)
            await asyncio.to_thread(self._keep, layer.digest, raw)
            return found

    def _path(self, digest: Digest) -> Path | None:
        return self._folder and self._folder / f"{digest.algorithm}-{digest.hex}"

    def _load(self, digest: Digest) -> LayerFiles | None:
        path = self._path(digest)
        if path is None:
            return None
        with suppress(OSError, ValueError, zlib.error, InventoryError):
            unpacking = zlib.decompressobj()
            raw = unpacking.decompress(path.read_bytes(), self._task.result_bytes)
            if self._most_bytes is not None:
                os.utime(path)
            return layer_files(json.loads(raw))
        return None

    def _keep(self, digest: Digest, raw: Any) -> None:
        path = self._path(digest)
        if path is None:
            return
        with suppress(OSError):  # a disk that is full costs the next call, not this one
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_private(path, zlib.compress(json.dumps(raw).encode(), level=1), synced=False)
            self._trim(path.parent)

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


def layer_files(data: Any) -> LayerFiles:
    """Return what a worker found; raises InventoryError for what no worker of ours says."""
    try:
        return LayerFiles(
            diff_id=Digest.parse(data["diff_id"]),
            entries=_each(data["entries"], _entry),
            removed=frozenset(map(_text, data["removed"])),
            opaque=frozenset(map(_text, data["opaque"])),
            elf=_each(data["elf"], _elf),
            scripts=_each(data["scripts"], _text),
            texts=_each(data["texts"], _text),
        )
    except (LookupError, TypeError, ValueError, AttributeError):
        raise InventoryError("a worker answered what is no list of files") from None


def _each[T](data: Mapping[str, Any], read: Callable[[Any], T]) -> dict[str, T]:
    return {_text(path): read(value) for path, value in data.items()}


def _entry(row: Any) -> LayerEntry:
    kind, mode, uid, gid, size, content, extended = row
    return LayerEntry(
        EntryKind(kind),
        mode=_number(mode),
        uid=_number(uid),
        gid=_number(gid),
        size=_number(size),
        content=_text(content),
        extended=_text(extended),
    )


def _elf(row: Any) -> ElfFacts | None:
    if row is None:
        return None
    interpreter, soname, needed, required, defined = row
    return ElfFacts(
        _text(interpreter),
        _text(soname),
        tuple(map(_text, needed)),
        {_text(name): tuple(map(_text, versions)) for name, versions in required},
        frozenset(map(_text, defined)),
    )


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return value


def _number(value: Any) -> int:
    if not isinstance(value, int):
        raise TypeError(value)
    return value
