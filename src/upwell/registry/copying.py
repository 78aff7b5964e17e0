"""Copies images between registries: every digest is kept, and only what is missing is sent."""

import asyncio
import json
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Callable,
    Coroutine,
    Iterable,
    Mapping,
    Sequence,
)
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from upwell.machine.tasks import first_error
from upwell.oci import Descriptor, Index, Manifest, Platform, Reference, parse_manifest
from upwell.registry.client.push import RegistryPusher
from upwell.registry.errors import InvalidAnswerError, RegistryError
from upwell.registry.interface import DEFAULT_ACCESS, Registry, RequestAccess

_AT_ONCE = 6


class CopyStep(StrEnum):
    """Outcome for one piece of an image."""

    PRESENT = "present"
    MOUNTED = "mounted"
    COPIED = "copied"
    TAGGED = "tagged"


@dataclass(frozen=True, slots=True)
class CopyProgress:
    """One step: of which piece, and into which repository."""

    step: CopyStep
    piece: Descriptor
    target: Reference


type Report = Callable[[CopyProgress], None]
type WantsPlatform = Callable[[Platform], bool]


@dataclass(slots=True)
class Copied:
    """Outcome of one copy."""

    target: Reference
    """The image at the target, by digest."""
    counts: dict[CopyStep, int] = field(default_factory=lambda: dict.fromkeys(CopyStep, 0))
    sent_bytes: int = 0


@dataclass(frozen=True, slots=True)
class CopyAccess:
    """Access to the two sides."""

    source: RequestAccess = DEFAULT_ACCESS
    target: RequestAccess = DEFAULT_ACCESS


@dataclass(frozen=True, slots=True)
class ImageCopier:
    """Copies images from `source` to where `target` pushes."""

    source: Registry
    target: RegistryPusher
    access: CopyAccess = CopyAccess()
    report: Report = lambda _progress: None
    platforms: WantsPlatform | None = None
    """Keeps a part of each index, which changes its digest; None keeps it whole."""

    async def copy(self, origin: Reference, goal: Reference) -> Copied:
        """Copy `origin` to `goal`, which names a tag or a digest; raises a RegistryError.

        What an interrupted copy has sent is found at the goal, and not sent again.
        """
        manifest = await self.source.manifest(origin, self.access.source)
        if isinstance(manifest, Index) and self.platforms is not None:
            manifest = _part(manifest, self.platforms, origin)
        copied = Copied(goal.with_digest(manifest.digest))
        work = _Copy(self, origin, goal, copied, asyncio.Semaphore(_AT_ONCE))
        await work.content_of(manifest)
        wanted = goal if goal.digest is None else goal.with_digest(manifest.digest)
        await self.target.push_manifest(wanted, manifest, self.access.target)
        work.note(CopyStep.TAGGED, _described(manifest))
        return copied

    async def plan(self, origin: Reference, goal: Reference) -> Sequence[Descriptor]:
        """Return what a copy would send, sending nothing; raises a RegistryError."""
        manifest = await self.source.manifest(origin, self.access.source)
        if isinstance(manifest, Index) and self.platforms is not None:
            manifest = _part(manifest, self.platforms, origin)
        missing: dict[str, Descriptor] = {}
        for each in [manifest, *await self._children(manifest, origin)]:
            if await self.target.has_manifest(goal, each.digest, self.access.target):
                continue
            missing[str(each.digest)] = _described(each)
            for blob in each.references if isinstance(each, Manifest) else ():
                known = str(blob.digest) in missing or blob.urls
                if not known and not await self.target.has_blob(
                    goal, blob.digest, self.access.target
                ):
                    missing[str(blob.digest)] = blob
        return tuple(missing.values())

    async def _children(
        self, manifest: Manifest | Index, origin: Reference
    ) -> list[Manifest | Index]:
        if isinstance(manifest, Manifest):
            return []
        return [
            await self.source.manifest(origin.with_digest(entry.digest), self.access.source)
            for entry in manifest.manifests
        ]


@dataclass(frozen=True, slots=True)
class _Copy:
    """One copy under way."""

    copier: ImageCopier
    origin: Reference
    goal: Reference
    copied: Copied
    slots: asyncio.Semaphore

    async def content_of(self, manifest: Manifest | Index) -> None:
        """Bring what must be at the goal before the manifest may."""
        target, access = self.copier.target, self.copier.access.target
        if await target.has_manifest(self.goal, manifest.digest, access):
            self.note(CopyStep.PRESENT, _described(manifest))
            return
        if isinstance(manifest, Manifest):
            blobs = {blob.digest: blob for blob in manifest.references if not blob.urls}
            await _together(self._blob(blob) for blob in blobs.values())
            return
        children = {entry.digest: entry for entry in manifest.manifests}
        await _together(self._child(entry) for entry in children.values())

    async def _child(self, entry: Descriptor) -> None:
        pinned = self.origin.with_digest(entry.digest)
        manifest = await self.copier.source.manifest(pinned, self.copier.access.source)
        await self.content_of(manifest)
        goal = self.goal.with_digest(entry.digest)
        await self.copier.target.push_manifest(goal, manifest, self.copier.access.target)
        self.note(CopyStep.COPIED, entry)

    async def _blob(self, blob: Descriptor) -> None:
        target, access = self.copier.target, self.copier.access.target
        async with self.slots:
            if await target.has_blob(self.goal, blob.digest, access):
                self.note(CopyStep.PRESENT, blob)
                return
            same = self.origin.registry == self.goal.registry
            if same and await target.mount(self.goal, blob.digest, self.origin.repository, access):
                self.note(CopyStep.MOUNTED, blob)
                return
            await self._send(blob)
        self.copied.sent_bytes += blob.size
        self.note(CopyStep.COPIED, blob)

    async def _send(self, blob: Descriptor) -> None:
        opened: list[AsyncGenerator[bytes]] = []

        def content() -> AsyncIterator[bytes]:
            opened.append(self._content(blob))
            return opened[-1]

        try:
            await self.copier.target.push_blob(self.goal, blob, content, self.copier.access.target)
        finally:
            for stream in opened:
                await stream.aclose()

    async def _content(self, blob: Descriptor) -> AsyncGenerator[bytes]:
        source, access = self.copier.source, self.copier.access.source
        async with source.open_blob(self.origin, blob.digest, access) as chunks:
            async for chunk in chunks:
                yield chunk

    def note(self, step: CopyStep, piece: Descriptor) -> None:
        self.copied.counts[step] += 1
        self.copier.report(CopyProgress(step, piece, self.goal))


async def _together(work: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Do all of `work`; the first RegistryError ends the rest and is raised as it is."""
    try:
        async with asyncio.TaskGroup() as group:
            for each in work:
                group.create_task(each)
    except* RegistryError as failed:
        raise first_error(failed) from failed


def _described(manifest: Manifest | Index) -> Descriptor:
    return Descriptor(str(manifest.media_type), manifest.digest, len(manifest.raw))


def _part(index: Index, wants: WantsPlatform, origin: Reference) -> Manifest | Index:
    """Return the index with the wanted platforms alone; everything else in it stays."""
    document: Mapping[str, object] = json.loads(index.raw)
    entries = document.get("manifests")
    pairs = zip(entries if isinstance(entries, list) else [], index.manifests, strict=True)
    kept = [raw for raw, entry in pairs if entry.platform is not None and wants(entry.platform)]
    if not kept:
        raise InvalidAnswerError(str(origin), "its index has none of the wanted platforms")
    if len(kept) == len(index.manifests):
        return index
    raw = json.dumps({**document, "manifests": kept}, separators=(",", ":")).encode()
    return parse_manifest(raw, str(index.media_type))
