"""Places of rebased images: where their own layers are, and where the outcome goes."""

from dataclasses import dataclass, field

from upwell.oci import Descriptor, Digest, Manifest, Reference


@dataclass(frozen=True, slots=True)
class PlacedImage:
    """A rebased image of one platform, and the repositories that its layers are in."""

    manifest: Manifest
    config: bytes = field(repr=False)
    base: Reference
    """Repository of the new base."""
    base_layers: tuple[Descriptor, ...]
    source: Reference
    """Repository of the image before, which has the other layers."""
    base_origin: Reference | None = None
    """Repository that has the layers of the base too, where `base` is a copy of another registry.
    """

    @property
    def own_layers(self) -> tuple[Descriptor, ...]:
        """The layers that the image has above its base."""
        return self.manifest.layers[len(self.base_layers) :]


@dataclass(frozen=True, slots=True)
class RebaseTarget:
    """Place of the outcome; `replaced` is the digest that its tag has to have until then."""

    name: Reference
    replaced: Digest | None = None


@dataclass(slots=True)
class WrittenBlobs:
    """Outcome of the blobs of one rebase."""

    mounted: int = 0
    sent: int = 0
    sent_bytes: int = 0
