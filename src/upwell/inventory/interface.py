"""The inventory port: packages by image digest."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import ClassVar, Protocol

from upwell.oci import Descriptor, Digest


class InventoryError(Exception):
    """The packages of an image cannot be read; the message says why."""

    reason: ClassVar[str] = "InventoryFailed"
    retryable: ClassVar[bool] = False


class InventoryFailedError(InventoryError):
    """This machine was at fault: another try may succeed."""

    retryable: ClassVar[bool] = True


@dataclass(frozen=True, slots=True, order=True)
class Package:
    """An installed package as its package manager names it."""

    name: str
    version: str
    architecture: str = ""
    source: str = ""
    """Source package, where it has another name."""


class Layers(Protocol):
    """One image's layers, lowest first, and a way to read each."""

    @property
    def layers(self) -> Sequence[Descriptor]:
        """The layers' descriptors."""
        ...

    def open(self, layer: Descriptor) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Stream a layer as it is stored; the content is verified at the end."""
        ...


class Inventory(Protocol):
    """Packages by image digest."""

    async def packages(self, digest: Digest) -> Sequence[Package] | None:
        """Return the packages of an image, sorted by name; None when it was not indexed yet."""
        ...

    async def failure(self, digest: Digest) -> str | None:
        """Return why the packages of an image cannot be read; None: they can, or nobody tried."""
        ...

    async def index(self, digest: Digest, layers: Layers) -> Sequence[Package]:
        """Read the packages from the layers and keep them; raises InventoryError.

        What no other try changes is kept as well, and raised again without a look at the layers.
        """
        ...
