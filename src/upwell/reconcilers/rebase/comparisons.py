"""Comparisons of bases that are kept, for a process that rebases for its user alone."""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from upwell.inventory.interface import LayerFiles
from upwell.oci import Digest
from upwell.policy.rebase.comparison import BaseComparison
from upwell.policy.rebase.layered_files import LayeredFiles


@dataclass(slots=True)
class KeptComparison:
    """Comparison of two bases, once it is made."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    found: BaseComparison | None = None


@dataclass
class BaseComparisons:
    """Comparisons of bases; the last few are kept, as many images stand on the same."""

    most: int = 64
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
            while len(self._kept) > self.most:  # who uses it has it all the same
                self._kept.popitem(last=False)


def compared(below: Sequence[LayerFiles], above: Sequence[LayerFiles]) -> BaseComparison:
    """Compare the layers of two bases."""
    return BaseComparison(LayeredFiles.of(below), LayeredFiles.of(above))
