"""Rebases that a process compares for others: what strangers made of an image is read by workers.

This process reads manifests, and copies what it hands to a worker from file to file. What comes
back is bounded, and checked against the manifests.
"""

import asyncio
import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import asdict, dataclass, field
from typing import IO, Any, Protocol

from upwell.inventory.interface import InventoryError, LayerFacts, Layers
from upwell.oci import (
    Descriptor,
    Digest,
    ImageConfig,
    InvalidManifestError,
    Manifest,
    Platform,
    Reference,
    parse_manifest,
)
from upwell.oci.rebase.documents import BuildRecord, NotRebasableError
from upwell.oci.rebase.images import recompressed
from upwell.oci.rebase.placing import PlacedImage
from upwell.policy.rebase.findings import RebaseFault, RebaseFinding
from upwell.policy.rebase.plan import NamedDigest
from upwell.policy.rebase.safety import UnreadLayer
from upwell.registry.errors import InvalidAnswerError, RegistryError
from upwell.registry.interface import DEFAULT_ACCESS, Registry, RequestAccess
from upwell.registry.layers import RegistryLayers
from upwell.registry.rebasing.reading import ImageReader
from upwell.workers.interface import MIB, RefusedInputError, WorkerError, WorkerLimits
from upwell.workers.runner import run_worker

_TASK = "upwell.reconcilers.rebase.comparing_task"
_LIMITS = WorkerLimits(
    memory_bytes=768 * MIB, cpu_seconds=60, wall_seconds=300, result_values=10_000
)
_MAX_WHY = 1000


class FactScanner(Protocol):
    """Finder of the files of layers, which keeps them out of memory."""

    def facts(self, layers: Layers, layer: Descriptor) -> AbstractAsyncContextManager[LayerFacts]:
        """Give what is in a layer; raises InventoryError, or what `layers` raises."""
        ...


@dataclass(frozen=True, slots=True)
class RebaseBounds:
    """Bounds of one rebase: what all of image and bases may take together; the rest is built."""

    layers: int = 512
    """Counted before any is read; container runtimes take 127 of an image."""
    facts_bytes: int = 64 * MIB
    """Of `LayerFacts.unpacked_bytes`: some three hundred thousand files."""
    config_bytes: int = MIB
    """Of the configuration of an image; those of applications have some ten thousand bytes."""


@dataclass(frozen=True, slots=True)
class RebaseComparison:
    """An image that may stand on another base, both pinned, and what its user says about it."""

    image: Reference
    old_base: Reference
    new_base: Reference
    runs_scripts: bool = False
    """True if a build runs Source-to-Image scripts of its base: a change of them matters."""
    known_as: NamedDigest | None = None
    """Base that the outcome records, where `new_base` names a copy."""
    record: BuildRecord | None = None
    """Values that say which build the outcome is of."""
    access: RequestAccess = DEFAULT_ACCESS
    """Access to the registry of the image."""


@dataclass(frozen=True, slots=True)
class ComparedRebase:
    """Outcome of a comparison, of which nothing was written."""

    digest: Digest
    placed: PlacedImage | None = None
    """None: the image is on its new base already."""
    findings: tuple[RebaseFinding, ...] = ()
    """Reasons against it; each names a few of its paths."""


class RebaseComparer:
    """Comparer of images and bases; two are in memory at once, each in a worker."""

    def __init__(self, registry: Registry, scanner: FactScanner, bounds: RebaseBounds) -> None:
        self._registry = registry
        self._scanner = scanner
        self._bounds = bounds
        self._turns = asyncio.Semaphore(2)

    async def compare(self, asked: RebaseComparison) -> ComparedRebase:
        """Say what an image would be on another base, and what speaks against it.

        Raises a RegistryError, NotRebasableError or InvalidManifestError.
        """
        size = self._bounds.config_bytes
        reader = ImageReader(self._registry, max_config_bytes=size)
        image = await self._image(ImageReader(self._registry, asked.access, size), asked.image)
        platform = await asyncio.to_thread(_platform, image)
        old = await self._base(reader, asked.old_base, platform)
        new = await self._base(reader, asked.new_base, platform)
        count = sum(len(one.manifest.layers) for one in (image, old, new))
        if count > self._bounds.layers:
            most = self._bounds.layers
            raise NotRebasableError(f"image and bases have {count} layers, and {most} are compared")
        with tempfile.TemporaryFile(prefix="upwell-rebase-") as file:
            parts = _Parts(file)
            unread: list[UnreadLayer] = []
            if old.manifest.digest != new.manifest.digest:
                unread = await self._layers(parts, image, old, new, asked.access)
            await asyncio.to_thread(_add_documents, parts, asked, (image, old, new), unread)
            answer = await self._answer(parts)
        return await asyncio.to_thread(_compared, answer, asked, image, old, new)

    async def _image(self, reader: ImageReader, name: Reference) -> "_Document":
        found = await reader.document(name)
        if not isinstance(found, Manifest):
            raise NotRebasableError("it is of several platforms, and those of builds are of one")
        return _Document(name, found.digest, found, await reader.config(name, found))

    async def _base(self, reader: ImageReader, name: Reference, platform: Platform) -> "_Document":
        digest, manifest = await reader.base_manifest(name, platform)
        return _Document(name, digest, manifest, await reader.config(name, manifest))

    async def _layers(
        self,
        parts: "_Parts",
        image: "_Document",
        old: "_Document",
        new: "_Document",
        access: RequestAccess,
    ) -> list[UnreadLayer]:
        """Add the facts of all layers that matter; return those that could not be looked at.

        One after another: none is read beyond the bounds.
        """
        unread: list[UnreadLayer] = []
        left = self._bounds.facts_bytes
        for group, source, layer in _wanted(image, old, new):
            try:
                asked = access if source == image.name else DEFAULT_ACCESS
                left -= await self._facts(parts, group, source, layer, asked)
            except InventoryError as error:
                unread.append(UnreadLayer(str(layer.digest), str(error)[:_MAX_WHY]))
            except RegistryError as error:
                if error.retryable:
                    raise
                unread.append(UnreadLayer(str(layer.digest), str(error)[:_MAX_WHY]))
            if left < 0:
                raise NotRebasableError("image and bases have more files than fit")
        return unread

    async def _facts(
        self,
        parts: "_Parts",
        group: str,
        source: Reference,
        layer: Descriptor,
        access: RequestAccess,
    ) -> int:
        if layer.urls:
            raise InventoryError("it is kept outside of registries")
        stored = RegistryLayers(self._registry, source, (layer,), access)
        async with self._scanner.facts(stored, layer) as found:
            await asyncio.to_thread(parts.copy, group, found.file)
            return found.unpacked_bytes

    async def _answer(self, parts: "_Parts") -> Any:
        argument = {"parts": parts.table, "facts": self._bounds.facts_bytes}
        try:
            async with self._turns:
                await asyncio.to_thread(parts.file.seek, 0)
                return await run_worker(_TASK, parts.file, argument, _LIMITS)
        except RefusedInputError as error:
            raise NotRebasableError(str(error)) from error
        except (WorkerError, OSError) as error:
            raise NotRebasableError(f"image and bases cannot be compared: {error}") from error


@dataclass(frozen=True, slots=True)
class _Document:
    """Documents of an image as they are stored, and by which name and digest it was found."""

    name: Reference
    digest: Digest
    manifest: Manifest
    config: bytes = field(repr=False)


@dataclass
class _Parts:
    """File for a worker, of parts one after another."""

    file: IO[bytes]
    table: list[tuple[str, int]] = field(default_factory=list)
    """Name and bytes of each."""

    def add(self, name: str, content: bytes) -> None:
        self.file.write(content)
        self.table.append((name, len(content)))

    def copy(self, name: str, source: IO[bytes]) -> None:
        size = 0
        while piece := source.read(64 * 1024):
            size += self.file.write(piece)
        self.table.append((name, size))


def _platform(image: _Document) -> Platform:
    try:
        return ImageConfig.parse(image.config).platform
    except InvalidManifestError as error:
        raise InvalidAnswerError(image.name.name, str(error)) from error


def _wanted(
    image: _Document, old: _Document, new: _Document
) -> Iterator[tuple[str, Reference, Descriptor]]:
    """Yield the layers to be looked into: those of both bases, and what the image has itself."""
    for group, base in (("old", old), ("new", new)):
        for layer in base.manifest.layers:
            yield group, base.name, layer
    layers, below = image.manifest.layers, old.manifest.layers
    for layer in layers[len(below) :]:
        yield "own", image.name, layer
    for at in recompressed(layers, below):
        yield "again", image.name, layers[at]


def _add_documents(
    parts: _Parts,
    asked: RebaseComparison,
    documents: Sequence[_Document],
    unread: Sequence[UnreadLayer],
) -> None:
    for one in documents:
        parts.add("document", one.manifest.raw)
        parts.add("document", one.config)
    new = documents[-1]
    known = asked.known_as
    names = [[str(one.name), str(one.digest), ""] for one in documents]
    if known is not None:
        names[-1] = [str(new.name), str(known.digest), known.name]
    request = {
        "names": names,
        "types": [str(one.manifest.media_type) for one in documents],
        "record": None if asked.record is None else asdict(asked.record),
        "unread": [[one.digest, one.why] for one in unread],
        "runs_scripts": asked.runs_scripts,
    }
    parts.add("request", json.dumps(request).encode())


def _compared(
    answer: Any, asked: RebaseComparison, image: _Document, old: _Document, new: _Document
) -> ComparedRebase:
    """Return what a worker says, as far as it may; raises NotRebasableError."""
    match answer:
        case {"current": True}:
            return ComparedRebase(image.digest)
        case {"manifest": str(raw), "config": str(text), "findings": [*findings]}:
            manifest, config = parse_manifest(_bytes(raw)), _bytes(text)
        case _:
            raise NotRebasableError("its worker answered what is no comparison")
    own = image.manifest.layers[len(old.manifest.layers) :]
    wanted = [(one.digest, one.size) for one in (*new.manifest.layers, *own)]
    if (
        not isinstance(manifest, Manifest)
        or [(one.digest, one.size) for one in manifest.layers] != wanted
        or any(one.urls for one in manifest.layers)
        or manifest.config.digest != Digest.of(config)
    ):
        raise NotRebasableError("it came out with other content than it was made of")
    count = len(new.manifest.layers)
    placed = PlacedImage(manifest, config, new.name, manifest.layers[:count], asked.image)
    return ComparedRebase(manifest.digest, placed, tuple(map(_finding, findings)))


def _bytes(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise NotRebasableError(f"its worker answered what is no text: {error.reason}") from error


def _finding(row: Any) -> RebaseFinding:
    match row:
        case [str(fault), str(why), [*paths], int(others)] if fault in set(RebaseFault):
            return RebaseFinding(RebaseFault(fault), why, tuple(map(str, paths)), others)
        case _:
            raise NotRebasableError("its worker answered what is no reason")
