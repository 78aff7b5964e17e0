"""Origins of images that tests name."""

from dataclasses import dataclass, field

from upwell.oci import Digest, Reference
from upwell.registry.origins import Origin

STREAM = "shop/debian"


@dataclass
class StreamInMemory:
    """Implements ImageOrigins from what a test says of one stream, `shop/debian`."""

    tags: dict[str, Digest] = field(default_factory=dict)
    origins: dict[Digest, Reference] = field(default_factory=dict)

    async def digest(self, repository: str, tag: str) -> Digest | None:
        return self.tags.get(tag) if repository == STREAM else None

    async def find(self, repository: str, digest: Digest) -> Origin | None:
        found = self.origins.get(digest) if repository == STREAM else None
        return Origin(found) if found else None
