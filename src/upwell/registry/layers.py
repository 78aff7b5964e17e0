"""Layers of an image in a registry, to be read one by one."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from upwell.oci import Descriptor, Reference
from upwell.registry.announced import announced
from upwell.registry.interface import Registry, RequestAccess


class RegistryLayers:
    """Implements Layers of an image in a registry."""

    def __init__(
        self,
        registry: Registry,
        reference: Reference,
        layers: Sequence[Descriptor],
        access: RequestAccess,
    ) -> None:
        self.layers = layers
        self._registry = registry
        self._reference = reference
        self._access = access

    @asynccontextmanager
    async def open(self, layer: Descriptor) -> AsyncIterator[AsyncIterator[bytes]]:
        """Stream a layer as it is stored."""
        async with self._registry.open_blob(self._reference, layer.digest, self._access) as chunks:
            yield announced(chunks, layer, self._reference.name)
