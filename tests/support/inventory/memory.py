"""An inventory in memory."""

from collections.abc import Sequence

from upwell.inventory.interface import InventoryError, Layers, Package
from upwell.inventory.layers import packages_of, read_layer
from upwell.oci import Digest


class InventoryInMemory:
    """Implements Inventory; `reads` counts what was read for each image."""

    def __init__(self) -> None:
        self.indexed: dict[Digest, Sequence[Package]] = {}
        self.reads: dict[Digest, int] = {}
        self.failure: InventoryError | None = None
        """Raised in place of the next answers of `index`."""

    async def packages(self, digest: Digest) -> Sequence[Package] | None:
        return self.indexed.get(digest)

    async def index(self, digest: Digest, layers: Layers) -> Sequence[Package]:
        self.reads[digest] = self.reads.get(digest, 0) + 1
        if self.failure is not None:
            raise self.failure
        packages = packages_of([await read_layer(layers, layer) for layer in layers.layers])
        self.indexed[digest] = packages
        return packages
