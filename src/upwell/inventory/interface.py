"""The inventory port: packages by image digest; files of layers."""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import IO, ClassVar, Protocol

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

    async def unread(self, digests: Iterable[Digest]) -> Sequence[Digest]:
        """Return those that were neither indexed nor found to be unreadable, in their order."""
        ...

    async def failure(self, digest: Digest) -> str | None:
        """Return why the packages of an image cannot be read; None: they can, or nobody tried."""
        ...

    async def index(self, digest: Digest, layers: Layers) -> Sequence[Package]:
        """Read the packages from the layers and keep them; raises InventoryError.

        What no other try changes is kept as well, and raised again without a look at the layers.
        """
        ...


class EntryKind(StrEnum):
    """Kind of what a path of a layer names."""

    FILE = "file"
    DIRECTORY = "directory"
    SYMLINK = "symlink"
    HARD_LINK = "hardlink"
    SPECIAL = "special"
    """A device or a pipe."""


@dataclass(frozen=True, slots=True)
class LayerEntry:
    """A path of a layer; equal where a container would notice no difference but times."""

    kind: EntryKind
    mode: int
    uid: int
    gid: int
    size: int = 0
    content: str = ""
    """sha256 of a file in hex; target of a link; numbers of a device."""
    extended: str = ""
    """sha256 of the extended attributes; empty: there are none."""

    @property
    def is_link(self) -> bool:
        """True if its content is the path of another."""
        return self.kind in {EntryKind.SYMLINK, EntryKind.HARD_LINK}


@dataclass(frozen=True, slots=True)
class ElfFacts:
    """Needs and offers of an ELF file (System V ABI; LSB, symbol versioning)."""

    interpreter: str = ""
    """Path of the program loader; empty: it needs none."""
    soname: str = ""
    needed: tuple[str, ...] = ()
    required: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))
    """Symbol versions by the soname that must have them."""
    defined: frozenset[str] = frozenset()
    """Symbol versions that it has for others."""


@dataclass(frozen=True, slots=True)
class LayerFiles:
    """One layer: paths relative to the root, without a leading slash."""

    diff_id: Digest
    """Digest of the uncompressed layer, as it was read."""
    entries: Mapping[str, LayerEntry]
    removed: frozenset[str] = frozenset()
    """Paths that are gone with all below them: whiteouts (image-spec, layer.md)."""
    opaque: frozenset[str] = frozenset()
    """Folders of which nothing that lower layers have is left; "" is the root."""
    elf: Mapping[str, ElfFacts | None] = field(default_factory=lambda: MappingProxyType({}))
    """Programs and libraries; None for one that cannot be read."""
    scripts: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """First lines of executable scripts, without `#!`."""
    texts: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """Small files that say what a base is: os-release, passwd, versions of runtimes."""


@dataclass(frozen=True, slots=True)
class LayerFacts:
    """Files of a layer as they are kept, and not in memory."""

    file: IO[bytes]
    """At its beginning."""
    unpacked_bytes: int
    """About a hundred and fifty for each file of the layer."""
