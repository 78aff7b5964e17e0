"""Gauges of the data directory, the watches of the store and the limits of registries."""

import asyncio
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from prometheus_client.metrics_core import Metric

from upwell.machine.disk import DiskSpace
from upwell.registry.bucket.registry import BucketRegistry
from upwell.registry.client.client import RegistryClient
from upwell.registry.hosting import ServedRegistry
from upwell.server.metrics.gauges import budget_gauges, gauge, labelled
from upwell.store.local import LocalStore

_KEPT_SECONDS = 60.0
"""A walk over many files is not repeated at each scrape."""
_USED = "Part of each file system that is in use, 0 to 1; from 0.8 on component storage-room warns."
_FREE = "Room that is free on each file system that the server writes to."
_STORED = "Bytes of the embedded registry: room on disk, or content in its bucket."
_DAMAGED = "Blobs, manifests and tags of the embedded registry that storage has changed."
_WATCHES = "Watches of the store: one of the server itself, and those of clients."


@dataclass
class MachineGauges:
    """Reads sizes at most once a minute."""

    data_dir: Path
    client: RegistryClient
    store: LocalStore | None
    """None: objects are elsewhere."""
    disk: DiskSpace
    registry: ServedRegistry | None
    """None: images lie elsewhere."""
    bucket: BucketRegistry | None = None
    """Storage of the registry, where replicas share it; None: the data folder."""
    _sizes: tuple[int, int] = field(default=(0, 0), init=False)
    _read_at: float = field(default=float("-inf"), init=False)

    async def __call__(self) -> Sequence[Metric]:
        """Return the gauges."""
        if time.monotonic() - self._read_at > _KEPT_SECONDS:
            self._sizes = await asyncio.to_thread(_sizes, self.data_dir)
            self._read_at = time.monotonic()
        own, room = self._sizes
        free: dict[str, float] = {str(path): room for path, room in self.disk.free.items()}
        used: dict[str, float] = {str(path): part for path, part in self.disk.used.items()}
        return [
            *self._of_store(own),
            *await self._of_registry(room),
            labelled("upwell_disk_free_bytes", _FREE, "path", free),
            labelled("upwell_disk_used_ratio", _USED, "path", used),
            *budget_gauges(self.client.connection.budget.closings()),
        ]

    async def _of_registry(self, room: int) -> Sequence[Metric]:
        if self.registry is None:
            return ()
        damage = await asyncio.to_thread(self.registry.damage)
        stored = room if self.bucket is None else self.bucket.stored_bytes()
        return (
            gauge("upwell_registry_bytes", _STORED, stored),
            gauge("upwell_registry_damaged", _DAMAGED, sum(map(len, damage.values()))),
        )

    def _of_store(self, size: int) -> Sequence[Metric]:
        if self.store is None:
            return ()
        return (
            gauge("upwell_store_bytes", "Room on disk that the objects take.", size),
            labelled("upwell_store_watches", _WATCHES, "kind", dict(self.store.watches)),
        )


def _sizes(data_dir: Path) -> tuple[int, int]:
    store = sum(path.stat().st_size for path in data_dir.glob("upwell.db*"))
    return store, _room(data_dir / "registry")


def _room(folder: Path) -> int:
    """Return the bytes of all files, each once however many names it has."""
    seen: dict[int, int] = {}
    for root, _, names in os.walk(folder):
        for name in names:
            try:
                found = os.lstat(f"{root}/{name}")
            except FileNotFoundError:
                continue
            seen[found.st_ino] = found.st_size
    return sum(seen.values())
