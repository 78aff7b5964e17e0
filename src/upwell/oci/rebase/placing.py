"""Places of rebased images: where their own layers are, and where the outcome goes."""

from dataclasses import dataclass

from upwell.oci import Digest, Reference
from upwell.oci.rebase.documents import RebasedImage


@dataclass(frozen=True, slots=True)
class PlacedImage:
    """A rebased image of one platform, and the repository that its own layers are in."""

    image: RebasedImage
    source: Reference


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
