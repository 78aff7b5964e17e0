"""The inventory port: packages by image digest; files of layers."""

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import ClassVar, Protocol

from upwell.oci import Descriptor, Digest

_PATH_BYTES, _TEXT_BYTES, _ELF_BYTES = 450, 60, 800
"""Memory of CPython 3.13 for an entry and its places in sets, for a text, and for a program."""


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

    def names(self) -> Iterator[str]:
        """Yield all its texts."""
        yield from (self.interpreter, self.soname, *self.needed, *self.required, *self.defined)
        for versions in self.required.values():
            yield from versions


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

    def work(self) -> int:
        """Return what it takes to compare them: characters of all paths and their folders."""
        return sum(
            len(path) * (path.count("/") + 2)
            + (len(entry.content) * (entry.content.count("/") + 2) if entry.is_link else 0)
            for path, entry in self.entries.items()
        )

    def held_bytes(self) -> int:
        """Return about how much memory they take, with what a comparison makes of them."""
        paths = (*self.entries, *self.removed, *self.opaque)
        elf = (facts for facts in self.elf.values() if facts is not None)
        named = (name for facts in elf for name in facts.names())
        texts = (*self.scripts.values(), *self.texts.values())
        contents = (entry.content for entry in self.entries.values())
        return (
            sum(_PATH_BYTES + 2 * len(path) for path in paths)
            + sum(_TEXT_BYTES + len(text) for text in (*contents, *named, *texts))
            + _ELF_BYTES * len(self.elf)
        )
