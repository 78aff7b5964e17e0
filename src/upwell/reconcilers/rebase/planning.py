"""Plans of rebases: images and bases read, documents made, layers looked at, safety judged."""

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from upwell.inventory.interface import InventoryError, LayerFiles, Layers
from upwell.machine.tasks import together
from upwell.oci import Descriptor, Digest, Index, Manifest, Reference
from upwell.oci.rebase.documents import (
    NamedBase,
    NotRebasableError,
    RebasedImage,
    rebased,
    rebased_index,
)
from upwell.oci.rebase.images import LayeredImage, recompressed
from upwell.oci.rebase.placing import RebaseTarget
from upwell.oci.rebase.records import BaseRecord, base_records
from upwell.policy.rebase.comparison import BaseComparison, BaseUpdate
from upwell.policy.rebase.findings import RebaseFinding
from upwell.policy.rebase.plan import KnownBase, PlatformPlan, RebasePlan, RebaseRequest
from upwell.policy.rebase.safety import (
    UnreadLayer,
    document_findings,
    rebase_findings,
    unread_findings,
)
from upwell.reconcilers.rebase.comparisons import BaseComparisons, compared
from upwell.registry.errors import InvalidAnswerError, PlatformMissingError, RegistryError
from upwell.registry.interface import Registry, RequestAccess
from upwell.registry.layers import RegistryLayers
from upwell.registry.rebasing.reading import BaseUnknownError, ImageReader, platforms_of

_MOST_TOLD = 4
"""Bases that a message names."""


class LayerScanner(Protocol):
    """Finder of the files of layers."""

    async def files(self, layers: Layers, layer: Descriptor) -> LayerFiles:
        """Return the files of a layer; raises InventoryError, or what `layers` raises."""
        ...


class KnownBases(Protocol):
    """Images that are known as bases of others, to a server perhaps."""

    async def below(self, image: LayeredImage) -> Sequence[KnownBase]:
        """Return those that an image may stand on, the most layers first."""
        ...


@dataclass(frozen=True, slots=True)
class RebasePlanner:
    """Planner of rebases; writes nothing.

    `known` is asked of an image whose base nobody has named, and that records none that fits.
    """

    reader: ImageReader
    scanner: LayerScanner
    known: KnownBases | None = None
    comparisons: BaseComparisons = field(default_factory=BaseComparisons)

    async def plan(self, request: RebaseRequest) -> RebasePlan:
        """Plan a rebase.

        Raises a RegistryError, NotRebasableError or InvalidManifestError.
        """
        whole = await self.reader.document(request.image)
        manifests = await self._manifests(whole, request)
        platforms = await together(self._platform(each, request) for each in manifests)
        goal = request.target or request.image
        replaced = whole.digest if _is_same_tag(goal, request.image) else None
        plan = RebasePlan(request.image, RebaseTarget(goal, replaced), tuple(platforms))
        if not isinstance(whole, Index) or request.platform is not None:
            return plan
        if plan.is_current:
            return replace(plan, index=whole)
        made = {one.source.digest: one.rebased.manifest for one in platforms if one.rebased}
        kept = [one.source.digest for one in platforms if one.rebased is None]
        index = rebased_index(whole, made, kept)
        dropped = tuple(e for e in whole.manifests if e.digest not in {*made, *kept})
        return RebasePlan(plan.image, plan.target, plan.platforms, index, dropped)

    async def _manifests(self, whole: Manifest | Index, request: RebaseRequest) -> list[Manifest]:
        if isinstance(whole, Manifest):
            await self._require_platform(whole, request)
            return [whole]
        entries = platforms_of(whole)
        if request.platform is not None:
            chosen = whole.select(request.platform)
            entries = () if chosen is None else (chosen,)
        if not entries:
            wanted = str(request.platform or "any platform")
            raise PlatformMissingError(str(request.image), wanted)
        found = await together(
            self.reader.document(request.image.with_digest(entry.digest)) for entry in entries
        )
        images = [one for one in found if isinstance(one, Manifest)]
        if len(images) < len(found):
            raise InvalidAnswerError(str(request.image), "an index that lists an index")
        return images

    async def _require_platform(self, manifest: Manifest, request: RebaseRequest) -> None:
        """Raise NotRebasableError for an image that is not of the platform that is asked for."""
        wanted = request.platform
        if wanted is None:
            return
        found = (await self.reader.image(request.image, manifest)).platform
        if (found.os, found.architecture) != (wanted.os, wanted.architecture):
            why = f"it has no other platform than {found}, and --platform is {wanted}"
            raise NotRebasableError(f"{why}: leave the option out, or name the image for {wanted}")

    async def _platform(self, manifest: Manifest, request: RebaseRequest) -> PlatformPlan:
        image = await self.reader.image(request.image, manifest)
        records = base_records(image)
        new, old = await self._bases_of(image, records, request)
        if old.image.digest == new.image.digest and image.stands_on(new.image):
            return PlatformPlan(manifest, image.platform, new)
        made = await asyncio.to_thread(rebased, image, old, new)
        findings = await self._findings(made, image, request)
        return PlatformPlan(manifest, image.platform, new, made, tuple(findings))

    async def _bases_of(
        self, image: LayeredImage, records: Sequence[BaseRecord], request: RebaseRequest
    ) -> tuple[NamedBase, NamedBase]:
        """Return the new base of an image and the one that it has; raises BaseUnknownError."""
        name = request.new_base or next((one.name for one in records), None)
        if name is None:
            why = "it records none: name its new base with --new-base, and the old with --old-base"
            unknown = BaseUnknownError(request.image, why)
            return await self._known_bases(image, request, unknown)
        new, old = await asyncio.gather(
            self.reader.base(name, image.platform), self._old_base(image, records, request)
        )
        if not isinstance(old, BaseUnknownError):
            return new, old
        if image.stands_on(new.image):
            return new, new
        return await self._known_bases(image, request, old)

    async def _known_bases(
        self, image: LayeredImage, request: RebaseRequest, unknown: BaseUnknownError
    ) -> tuple[NamedBase, NamedBase]:
        """Return what the layers say of all known bases; raises `unknown` where that is nothing."""
        found = await self.known.below(image) if self.known is not None else ()
        fitting: list[KnownBase] = []
        olds: dict[Reference, NamedBase] = {}
        for one in found:
            if fitting and one.layers < fitting[0].layers:
                break
            old = await self.reader.candidate(one.pinned, image)
            if old is not None and image.stands_on(old.image):
                fitting.append(one)
                olds[one.name] = old
        if not fitting:
            raise unknown
        _require_own(fitting, request.image)
        name = request.new_base or _only(olds, request.image)
        return await self.reader.base(name, image.platform), next(iter(olds.values()))

    async def _old_base(
        self, image: LayeredImage, records: Sequence[BaseRecord], request: RebaseRequest
    ) -> NamedBase | BaseUnknownError:
        """Return the base that an image has, or why nobody knows it."""
        if request.old_base is not None:
            return await self.reader.base(request.old_base, image.platform)
        try:
            if request.candidates:
                return await self.reader.best_base(request.image, image, request.candidates)
            return await self.reader.recorded_base(request.image, image, records)
        except BaseUnknownError as error:
            return error

    async def _findings(
        self, made: RebasedImage, image: LayeredImage, request: RebaseRequest
    ) -> list[RebaseFinding]:
        if not request.check:
            return await asyncio.to_thread(document_findings, made)
        old, new = made.old, made.new
        count = len(old.image.layers)
        scans = _Scans(self.reader.registry, self.reader.access, self.scanner)
        again = recompressed(image.layers, old.image.layers)
        bases, own, _ = await asyncio.gather(
            self._bases(old, new, scans),
            scans.layers(request.image, image.layers[count:], image.diff_ids[count:]),
            scans.layers(
                request.image,
                [image.layers[at] for at in again],
                [image.diff_ids[at] for at in again],
            ),
        )
        if scans.unread:
            found = await asyncio.to_thread(document_findings, made)
            return [*found, *unread_findings(scans.unread)]
        update = BaseUpdate(bases, own)
        return await asyncio.to_thread(rebase_findings, made, update)

    async def _bases(self, old: NamedBase, new: NamedBase, scans: "_Scans") -> BaseComparison:
        """Compare two bases, once for all images on them."""
        async with self.comparisons.of(old.image.digest, new.image.digest) as kept:
            if kept.found is not None:
                return kept.found
            below, above = await together(
                scans.layers(base.name, base.image.layers, base.image.diff_ids)
                for base in (old, new)
            )
            found = await asyncio.to_thread(compared, below, above)
            if not scans.unread:
                kept.found = found
            return found


@dataclass
class _Scans:
    """Looks into layers; `unread` has those that could not be looked at."""

    registry: Registry
    access: RequestAccess
    scanner: LayerScanner
    unread: list[UnreadLayer] = field(default_factory=list)

    async def layers(
        self, source: Reference, layers: Sequence[Descriptor], diff_ids: Sequence[Digest]
    ) -> list[LayerFiles]:
        """Return the files of layers, without those that are unread."""
        found = await together(
            self._layer(source, layer, diff_id)
            for layer, diff_id in zip(layers, diff_ids, strict=True)
        )
        return [one for one in found if one is not None]

    async def _layer(
        self, source: Reference, layer: Descriptor, diff_id: Digest
    ) -> LayerFiles | None:
        try:
            return await self._read(source, layer, diff_id)
        except InventoryError as error:
            why = str(error)
        except RegistryError as error:
            if error.retryable:
                raise
            why = str(error)
        self.unread.append(UnreadLayer(str(layer.digest), why))
        return None

    async def _read(self, source: Reference, layer: Descriptor, diff_id: Digest) -> LayerFiles:
        if layer.urls:
            raise InventoryError("it is kept outside of registries")
        stored = RegistryLayers(self.registry, source, (layer,), self.access)
        found = await self.scanner.files(stored, layer)
        if found.diff_id != diff_id:
            raise InventoryError("its content is not what the configuration says")
        return found


def _require_own(bases: Sequence[KnownBase], image: Reference) -> None:
    """Raise BaseUnknownError where strangers alone say what an image stands on.

    Whoever may push or import an image can give it the layers of another, and some of the layers
    that this has above its base: those would be lost with it.
    """
    if not any(one.own for one in bases):
        options = [f"--old-base {one.pinned} --new-base {one.name}" for one in bases]
        told = ", or ".join(options[:_MOST_TOLD])
        why = "images of other namespaces alone have its layers: if one of them is its base, say so"
        raise BaseUnknownError(image, f"{why} with {told}")


def _only(names: Collection[Reference], image: Reference) -> Reference:
    """Return the tag at which the updates of a base are found; raises BaseUnknownError for several.

    One of them may be a copy that nobody updates.
    """
    if len(names) > 1:
        told = ", ".join(sorted(map(str, names)))
        raise BaseUnknownError(image, f"{told} have all had it: name the one with --new-base")
    return next(iter(names))


def _is_same_tag(one: Reference, other: Reference) -> bool:
    return one.name == other.name and one.tag is not None and one.tag == other.tag
