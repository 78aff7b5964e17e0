"""Copies images between registries: every digest is kept, and only what is missing is sent."""

import asyncio
import json
import logging
from collections.abc import (
    AsyncIterator,
    Callable,
    Mapping,
    Sequence,
)
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial

from upwell.formats.attachment_tags import attachment_tags
from upwell.machine.tasks import together
from upwell.oci import Descriptor, Digest, Index, Manifest, Platform, Reference, parse_manifest
from upwell.registry.client.push import RegistryPusher, once
from upwell.registry.errors import InvalidAnswerError, ManifestUnknownError, RegistryError
from upwell.registry.interface import DEFAULT_ACCESS, Registry, RequestAccess
from upwell.registry.referrer_index import push_referrer
from upwell.registry.sending import BlobSource

log = logging.getLogger(__name__)

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
    left_behind: str = ""
    """First reason for which a signature, attestation or referrer did not come along."""


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

        Its signatures, attestations and other referrers come along, unless a part of an index is
        copied, which they are not about. What an interrupted copy has sent is found at the goal,
        and not sent again.
        """
        whole = manifest = await self.source.manifest(origin, self.access.source)
        if isinstance(manifest, Index) and self.platforms is not None:
            manifest = _part(manifest, self.platforms, origin)
        copied = Copied(goal.with_digest(manifest.digest))
        work = _Copy(self, origin, goal, copied, asyncio.Semaphore(_AT_ONCE))
        await work.content_of(manifest)
        wanted = goal if goal.digest is None else goal.with_digest(manifest.digest)
        await self.target.push_manifest(wanted, manifest, self.access.target)
        work.note(CopyStep.TAGGED, _described(manifest))
        if manifest.digest == whole.digest:
            await work.attachments(manifest.digest)
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
            await together(self._blob(blob) for blob in blobs.values())
            return
        children = {entry.digest: entry for entry in manifest.manifests}
        await together(self._child(entry) for entry in children.values())

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
        source = BlobSource(self.copier.source, self.origin, self.copier.access.source)
        await source.send(blob, self.copier.target, self.goal, self.copier.access.target)

    async def attachments(self, image: Digest) -> None:
        """Bring signatures, attestations and all else that refers to the image.

        What is no such thing, or is never taken, stays behind by itself: the image is there all the
        same. Raises RegistryError for what may pass.
        """
        source, access = self.copier.source, self.copier.access.source
        tagged: dict[str, Descriptor] = {}
        listed: list[Descriptor] = []

        async def look_up(tag: str) -> None:
            async with self._leaving_behind():
                try:
                    tagged[tag] = await source.resolve(self.origin.with_tag(tag), access)
                except ManifestUnknownError:
                    return

        async def list_referrers() -> None:
            async with self._leaving_behind():
                listed.extend(await source.referrers_of(self.origin.with_digest(image), access))

        # Most images have none: all is asked for at once. What there is comes one after another,
        # as the lists that some registries have of it are read and written again for each.
        tags = tuple(attachment_tags(image))
        await together([*map(look_up, tags), list_referrers()])
        for tag in tags:
            if tag in tagged:
                async with self._leaving_behind():
                    await self._tagged(tag, tagged[tag].digest)
        for entry in listed:
            async with self._leaving_behind():
                await self._referrer(entry)

    @asynccontextmanager
    async def _leaving_behind(self) -> AsyncIterator[None]:
        """Go on without what a registry will not give or take."""
        try:
            yield
        except RegistryError as error:
            if error.retryable and not isinstance(error, InvalidAnswerError):
                raise
            self.copied.left_behind = self.copied.left_behind or str(error)
            extra = {"image": str(self.goal), "why": str(error)}
            log.warning("attachment left behind", extra=extra)

    async def _tagged(self, tag: str, digest: Digest) -> None:
        access = self.copier.access.source
        manifest = await self.copier.source.manifest(self.origin.with_digest(digest), access)
        if isinstance(manifest, Manifest):
            await self._attach(tag, manifest)

    async def _referrer(self, entry: Descriptor) -> None:
        pinned = self.origin.with_digest(entry.digest)
        manifest = await self.copier.source.manifest(pinned, self.copier.access.source)
        await self.content_of(manifest)
        await self._push(self.goal.with_digest(entry.digest), manifest)

    async def _attach(self, tag: str, found: Manifest) -> None:
        """Put a tag's manifest to the goal, with the layers that the goal has besides."""
        goal = self.goal.with_tag(tag)
        present = await self._at_goal(goal)
        if present is None:
            await self.content_of(found)
            await self._push(goal, found)
            return
        known = {_claim(layer) for layer in present.layers}
        more = [layer for layer in found.layers if _claim(layer) not in known]
        if not more:
            return
        await together(self._blob(layer) for layer in more)
        from upwell.formats.sigstore import (  # noqa: PLC0415 - few copies have two sides to merge
            layered_manifest,
        )

        subject = present.subject or found.subject
        merged = layered_manifest([*present.layers, *more], (), subject)
        for blob in merged.blobs:
            await self.copier.target.push_blob(
                goal, blob.descriptor, partial(once, blob.content), self.copier.access.target
            )
        await self._push(goal, merged.manifest)

    async def _at_goal(self, goal: Reference) -> Manifest | None:
        # By the source's client, which reads every registry, with the login of the goal.
        try:
            found = await self.copier.source.manifest(goal, self.copier.access.target)
        except (ManifestUnknownError, InvalidAnswerError):
            return None
        return found if isinstance(found, Manifest) else None

    async def _push(self, goal: Reference, manifest: Manifest | Index) -> None:
        access = self.copier.access.target
        await push_referrer(self.copier.source, self.copier.target, goal, manifest, access)
        self.note(CopyStep.COPIED, _described(manifest))

    def note(self, step: CopyStep, piece: Descriptor) -> None:
        self.copied.counts[step] += 1
        self.copier.report(CopyProgress(step, piece, self.goal))


def _claim(layer: Descriptor) -> tuple[Digest, frozenset[tuple[str, str]]]:
    """Return by what the layers of a tag are told apart: one payload has many signatures."""
    return layer.digest, frozenset(layer.annotations.items())


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
