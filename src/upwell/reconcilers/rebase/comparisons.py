"""Comparisons of bases that are kept, and the bounds of what a process that others share compares.

Strangers push images of any number of files: what they may take is counted, and the rest is built.
"""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from upwell.inventory.interface import InventoryError, LayerFiles
from upwell.oci import Digest
from upwell.policy.rebase.comparison import BaseComparison
from upwell.policy.rebase.layered_files import LayeredFiles

_MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class ComparisonBounds:
    """Bounds of one rebase: what all layers of image and bases may take together."""

    work: int = 160_000_000
    """Of `LayerFiles.work`; an image of Node.js and its packages has a third of it."""
    held_bytes: int = 192 * _MIB
    """Of `LayerFiles.held_bytes`: some three hundred thousand files."""
    layers: int = 512
    """Counted before any is read; container runtimes take 127 of an image."""
    platforms: int = 32


@dataclass
class ComparisonCount:
    """Count of what the layers of one rebase take; without bounds nothing is counted."""

    bounds: ComparisonBounds | None
    _work: int = 0
    _held_bytes: int = 0

    def add(self, layer: LayerFiles) -> None:
        """Count a layer; raises InventoryError beyond the bounds."""
        if self.bounds is not None:
            self._work += layer.work()
            self._held_bytes += layer.held_bytes()
            self.require_room()

    def require_room(self) -> None:
        """Raise InventoryError beyond the bounds."""
        bounds = self.bounds
        if bounds is not None and (
            self._work > bounds.work or self._held_bytes > bounds.held_bytes
        ):
            raise InventoryError("image and bases have more files, or deeper folders, than fit")


@dataclass(slots=True)
class KeptComparison:
    """Comparison of two bases, once it is made."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    found: BaseComparison | None = None
    held_bytes: int = 0

    def keep(self, found: BaseComparison, layers: Sequence[LayerFiles]) -> None:
        """Keep what was made of layers."""
        self.held_bytes = sum(one.held_bytes() for one in layers)
        self.found = found


@dataclass
class BaseComparisons:
    """Comparisons of bases; the last few are kept, as many images stand on the same."""

    most: int = 64
    most_bytes: int | None = None
    """Memory of all that are kept; None: as much as they take."""
    turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(2))
    """Each holds the files of one rebase."""
    _kept: OrderedDict[tuple[Digest, Digest], KeptComparison] = field(default_factory=OrderedDict)

    @asynccontextmanager
    async def of(self, old: Digest, new: Digest) -> AsyncIterator[KeptComparison]:
        """Give the comparison of two bases to one at a time, so that one makes it."""
        key = old, new
        kept = self._kept.setdefault(key, KeptComparison())
        self._kept.move_to_end(key)
        try:
            async with kept.lock:
                yield kept
        finally:
            self._trim()

    def _trim(self) -> None:
        """Forget what was not used for longest; who uses it has it all the same."""
        while self._kept and (len(self._kept) > self.most or self._is_too_large()):
            self._kept.popitem(last=False)

    def _is_too_large(self) -> bool:
        if self.most_bytes is None:
            return False
        return sum(one.held_bytes for one in self._kept.values()) > self.most_bytes


def compared(below: Sequence[LayerFiles], above: Sequence[LayerFiles]) -> BaseComparison:
    """Compare the layers of two bases."""
    return BaseComparison(LayeredFiles.of(below), LayeredFiles.of(above))
