"""An inventory in memory."""

from collections.abc import Iterable, Sequence

from upwell.inventory.interface import InventoryError, Layers, Package
from upwell.inventory.layers import packages_of, read_layer
from upwell.oci import Digest


class InventoryInMemory:
    """Implements Inventory; `reads` counts what was read for each image."""

    def __init__(self) -> None:
        self.indexed: dict[Digest, Sequence[Package]] = {}
        self.reads: dict[Digest, int] = {}
        self.refusal: InventoryError | None = None
        """Raised in place of the next answers of `index`."""
        self._failures: dict[Digest, str] = {}

    async def packages(self, digest: Digest) -> Sequence[Package] | None:
        return self.indexed.get(digest)

    async def unread(self, digests: Iterable[Digest]) -> Sequence[Digest]:
        known = {*self.indexed, *self._failures}
        return [digest for digest in dict.fromkeys(digests) if digest not in known]

    async def failure(self, digest: Digest) -> str | None:
        return self._failures.get(digest)

    async def index(self, digest: Digest, layers: Layers) -> Sequence[Package]:
        if digest in self._failures:
            raise InventoryError(self._failures[digest])
        self.reads[digest] = self.reads.get(digest, 0) + 1
        try:
            packages = await self._read(layers)
        except InventoryError as error:
            if not error.retryable:
                self._failures[digest] = str(error)
            raise
        self.indexed[digest] = packages
        return packages

    async def _read(self, layers: Layers) -> Sequence[Package]:
        if self.refusal is not None:
            raise self.refusal
        return packages_of([await read_layer(layers, layer) for layer in layers.layers])
