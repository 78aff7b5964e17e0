"""Requests for rebases, and plans of them: what is to be written, and what speaks against it."""

from collections.abc import Sequence
from dataclasses import dataclass

from upwell.oci import Descriptor, Digest, Index, Manifest, Platform, Reference
from upwell.oci.rebase.documents import NamedBase, RebasedImage
from upwell.oci.rebase.placing import PlacedImage, RebaseTarget
from upwell.policy.rebase.findings import RebaseFinding


@dataclass(frozen=True, slots=True)
class NamedDigest:
    """An image's tag as images record it, and the digest that it stands for."""

    name: str
    digest: Digest


@dataclass(frozen=True, slots=True)
class KnownBase:
    """Image that another one may stand on."""

    name: Reference
    """Tag at which its updates are found."""
    pinned: Reference
    layers: int = 0
    """Number of its layers."""
    own: bool = False
    """False where strangers alone say that it is a base: whoever may push can give an image the
    layers of another, and some more."""


@dataclass(frozen=True, slots=True)
class RebaseRequest:
    """An image, and what its user says about it; the rest is what the image records."""

    image: Reference
    old_base: Reference | None = None
    new_base: Reference | None = None
    candidates: Sequence[Reference] = ()
    """Bases that it may stand on."""
    platform: Platform | None = None
    """Platform of an index to take alone; None takes all."""
    target: Reference | None = None
    check: bool = True
    """False leaves the layers unread; the plan is then of no known safety."""


@dataclass(frozen=True, slots=True)
class PlatformPlan:
    """One platform: what it becomes; without `rebased` it has the new base already."""

    source: Manifest
    platform: Platform
    new: NamedBase
    rebased: RebasedImage | None = None
    findings: tuple[RebaseFinding, ...] = ()


@dataclass(frozen=True, slots=True)
class RebasePlan:
    """A rebase that was not written yet."""

    image: Reference
    target: RebaseTarget
    platforms: tuple[PlatformPlan, ...]
    index: Index | None = None
    """The new index; None for an image of one platform."""
    dropped: tuple[Descriptor, ...] = ()
    """Entries of the old index that speak of the images before."""

    @property
    def is_current(self) -> bool:
        """True if there is nothing to do."""
        return all(one.rebased is None for one in self.platforms)

    @property
    def is_tag_alone(self) -> bool:
        """True if nothing is rebased, and another tag is to name the image as it is."""
        is_other = self.target.replaced is None and self.target.name != self.image
        return self.is_current and is_other

    @property
    def is_safe(self) -> bool:
        """True if nothing speaks for a rebuild."""
        return not any(one.findings for one in self.platforms)

    @property
    def digest(self) -> Digest:
        """Digest of the outcome."""
        if self.index is not None:
            return self.index.digest
        (one,) = self.platforms
        return one.source.digest if one.rebased is None else one.rebased.manifest.digest

    @property
    def images(self) -> list[PlacedImage]:
        """The images to write."""
        made = (one.rebased for one in self.platforms)
        return [
            PlacedImage(one.manifest, one.config, one.new.name, one.base_layers, self.image)
            for one in made
            if one is not None
        ]

    @property
    def kept(self) -> list[tuple[Reference, Manifest]]:
        """The manifests that the new index has of the old."""
        if self.index is None:
            return []
        return [(self.image, one.source) for one in self.platforms if one.rebased is None]
